"""What a report says about near duplicates."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np
from ledgers import make_ledger, make_source

from data_tools.report import page_ledger, terminal
from data_tools.report.near import NearSummary, read_near
from data_tools.shards.near_table import near_table_name, write_near_table
from gpt2zh.data.manifest import FileEntry, Manifest

from .conftest import make_account


def make_shards(folder: Path, similarities: list[float]) -> Manifest:
    """Write a table in which line 2 + n of one file is near line 100 + n of another."""
    numbers = np.arange(len(similarities))
    columns = [
        np.zeros(len(numbers), np.int32),
        numbers + 2,
        np.ones(len(numbers), np.int32),
        numbers + 100,
        np.array(similarities, np.float32),
        numbers % 2 == 1,
    ]
    path = folder / near_table_name(0)
    with path.open("wb") as file:
        write_near_table(file, columns)
    entry = FileEntry(file=path.name, bytes=path.stat().st_size, sha256="")
    sources = [make_source(f"d/{name}.csv") for name in "ab"]
    return dataclasses.replace(make_ledger(sources), extras=(entry,))


def test_the_least_similar_ones_come_first(tmp_path: Path) -> None:
    manifest = make_shards(tmp_path, [0.95, 0.8, 0.9])
    found = read_near(tmp_path, manifest, PurePosixPath("d"))
    assert found is not None and found.documents == 3
    assert found.text == ("3 dropped, with a similarity of 0.800 at least and 0.900 in the middle")
    assert list(found.examples) == [
        ("~0.800", "a.csv:3", "b.csv:101"),
        ("0.900", "a.csv:4", "b.csv:102"),
        ("0.950", "a.csv:2", "b.csv:100"),
    ]


def test_shards_without_near_duplicates_say_so_and_others_say_nothing(tmp_path: Path) -> None:
    found = read_near(tmp_path, make_shards(tmp_path, []), PurePosixPath("d"))
    assert found is not None and found.text == "none was dropped" and not found.examples
    assert read_near(tmp_path, make_ledger([make_source()]), PurePosixPath("d")) is None


def test_terminal_and_page_show_them_where_they_were_searched() -> None:
    account = make_account(make_source())
    assert "near copies" not in terminal.report(account) and page_ledger.near(account) is None
    examples = [("0.800", f"a.csv:{line}", "b.csv:7") for line in range(30)]
    near = NearSummary(30, 0.8, 0.8, examples)
    account = dataclasses.replace(account, near=near)
    shown = terminal.report(account)
    assert "near copies 30 dropped" in shown and "a.csv:9 " in shown and "a.csv:10 " not in shown
    table = page_ledger.near(account)
    assert table is not None and len(table.rows) == 30
