"""Tables of near duplicates: written by preparations, read by reports."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from shard_sets import make_manifest

from data_tools.shards.near_table import (
    is_near_table,
    near_duplicates,
    near_table_name,
    near_tables,
    read_near_columns,
    write_near_table,
)
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import FileEntry, Manifest, Source


def write(
    folder: Path, unit: int, lines: list[tuple[int, int, int, int, float, bool]]
) -> FileEntry:
    kinds = (np.int32, np.int64, np.int32, np.int64, np.float32, np.bool_)
    columns = [
        np.array([line[number] for line in lines], kind) for number, kind in enumerate(kinds)
    ]
    path = folder / near_table_name(unit)
    with path.open("wb") as file:
        write_near_table(file, columns)
    return FileEntry(file=path.name, bytes=path.stat().st_size, sha256="")


def manifest_of(*extras: FileEntry) -> Manifest:
    counts = {"records": 1, "read": 1, "bytes": 1, "characters": 1, "tokens": 1}
    kinds = {"format": "csv", "compression": "", "encoding": "utf-8", "fates": {}, "extents": ()}
    sources = tuple(Source(path=f"in/{name}.csv", **counts, **kinds) for name in "ab")
    return dataclasses.replace(make_manifest(()), sources=sources, extras=extras)


def test_lines_of_all_tables_are_read_in_order(tmp_path: Path) -> None:
    entries = [
        write(tmp_path, 0, [(0, 7, 0, 2, 0.9, False), (1, 3, 0, 2, 0.85, False)]),
        write(tmp_path, 3, [(1, 9, 0, 2, 1.0, True)]),
        write(tmp_path, 5, []),
    ]
    assert [path.name for path in near_tables(tmp_path)] == [entry.file for entry in entries]
    assert all(is_near_table(entry.file) for entry in entries) and not is_near_table("near-0.u8")
    manifest = manifest_of(*entries)
    columns = read_near_columns(tmp_path, manifest)
    assert columns is not None and [*map(len, columns)] == [3] * 6
    last, first = near_duplicates(manifest, columns, np.array([2, 0]))
    assert (last.path, last.line, last.like_path, last.like_line) == ("in/b.csv", 9, "in/a.csv", 2)
    assert (first.measure, last.measure) == ("0.900", "~1.000")


def test_shards_that_were_not_searched_have_no_table(tmp_path: Path) -> None:
    assert read_near_columns(tmp_path, manifest_of()) is None


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    entry = write(tmp_path, 0, [(0, 7, 0, 2, 0.9, False)])
    path = tmp_path / entry.file
    path.write_bytes(b"x" * entry.bytes)
    with pytest.raises(UserError, match=r"near_duplicates-00000\.parquet is damaged.*prepare"):
        read_near_columns(tmp_path, manifest_of(entry))
    path.unlink()
    with pytest.raises(UserError, match=r"near_duplicates-00000\.parquet is missing"):
        read_near_columns(tmp_path, manifest_of(entry))
