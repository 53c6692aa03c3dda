"""Shards with a known share of everything, and accounts that are made without shards."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from ledgers import make_ledger

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from data_tools.report import html
from data_tools.report.account import Account, gather
from data_tools.report.groups import grouped
from data_tools.report.lengths import Lengths
from gpt2zh.data.manifest import Source

from ..conftest import TEXTS, write_rows, write_vocabulary


def verses(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [f"{i}。" + rng.choice(TEXTS) * rng.randrange(1, 30) for i in range(count)]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of three files in two folders: with copies, empty, short and broken records.

    Many tests share them and must not change them; `shards` is a copy.
    """
    folder = tmp_path_factory.mktemp("report")
    write_rows(folder / "in/a/one.csv", verses(60, 1))
    write_rows(folder / "in/a/two.csv", [*verses(40, 1), *verses(30, 2), "", "短"])
    path = write_rows(folder / "in/b/gb.csv", verses(50, 3), encoding="gb18030")
    with path.open("ab") as file:
        file.write(b"9\r\n")
    config = PrepareConfig(
        input=(str(folder / "in"),),
        output=folder / "out",
        tokenizer=str(write_vocabulary(folder / "bert/vocab.txt")),
        row_length=32,
        unit_bytes=4000,
        validation_fraction=0.1,
        min_characters=2,
        workers=1,
    )
    prepare(config)
    return config.output


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    """Return a copy of `made`."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.fixture(scope="session")
def account(made: Path) -> Account:
    """Return the account of `made`."""
    return gather(made)


@pytest.fixture(scope="session")
def page(account: Account) -> ElementTree.Element:
    """Return the page of `made`."""
    return ElementTree.fromstring(html.page(account))


def make_account(
    *sources: Source, train: Sequence[Lengths] = (), held: Sequence[Lengths] = (), **more: Any
) -> Account:
    """Return an account of these sources.

    Args:
        sources: Few, so that each is a group.
        train: Lengths of the training documents by group; no documents where absent.
        held: The same of the held-out documents.
        more: For `make_ledger`.
    """
    groups = tuple(grouped(sources))
    none = Lengths(np.zeros(0, np.int64), np.zeros(0, np.int64))
    nothing = [none] * len(groups)
    manifest = make_ledger(sources, **more)
    return Account("out", manifest, groups, tuple(train or nothing), tuple(held or nothing))


def cut(account: Account) -> Account:
    """Return the same account, as if blocks of 7 tokens were held out of its documents."""
    rule = replace(account.manifest.split_rule, block_tokens=7)
    return replace(account, manifest=replace(account.manifest, split_rule=rule))


def make_lengths(counts: dict[int, int]) -> Lengths:
    """Return lengths by the number of documents that have each."""
    return Lengths(np.array(list(counts), np.int64), np.array(list(counts.values()), np.int64))


def figure(page: ElementTree.Element, key: str) -> ElementTree.Element:
    (found,) = (svg for svg in page.iter("svg") if svg.get("id") == key)
    return found


def bars_of(svg: ElementTree.Element) -> list[tuple[str, float]]:
    """Return tooltip and value of each bar."""
    return [
        (rect.findtext("title", ""), float(rect.get("data-value", ""))) for rect in svg.iter("rect")
    ]


def change_manifest(shards: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = shards / "manifest.json"
    table = json.loads(path.read_text("utf-8"))
    change(table)
    path.write_text(json.dumps(table), "utf-8")
