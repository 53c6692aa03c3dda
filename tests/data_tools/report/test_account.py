"""All that a report shows, checked against itself."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from ledgers import make_source

from data_tools.report.account import gather, kind_of
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import KEPT

from .conftest import change_manifest, make_account, make_lengths


def test_a_table_that_contradicts_the_ledger_is_an_error(shards: Path) -> None:
    def move_a_character(table: dict) -> None:
        table["sources"][0]["characters"] += 1
        table["sources"][1]["characters"] -= 1

    change_manifest(shards, move_a_character)
    with pytest.raises(UserError, match=r"(?s)2 faults.* in the manifest, but .* in the tables"):
        gather(shards)


def test_all_missing_and_damaged_files_are_named_at_once(shards: Path) -> None:
    (shards / "train-00000-000.arrow").unlink()
    os.truncate(shards / "documents-00001.parquet", 100)
    with pytest.raises(UserError) as caught:
        gather(shards)
    assert "train-00000-000.arrow is missing" in str(caught.value)
    assert "documents-00001.parquet is truncated: it has 100 bytes" in str(caught.value)


def test_a_table_of_the_right_size_that_cannot_be_read_is_an_error(shards: Path) -> None:
    path = shards / "documents-00001.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(UserError, match=rf"table of documents {path} cannot be read"):
        gather(shards)


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no manifest"):
        gather(tmp_path)


def test_one_line_for_all_comes_first_unless_there_is_only_one_group() -> None:
    one, two = make_source("d/a.csv", {KEPT: (1, 5)}), make_source("d/e/b.csv", {KEPT: (2, 7)})
    assert [group.name for group in make_account(one).groups_with_all] == ["a.csv"]
    account = make_account(one, two)
    assert [group.name for group in account.groups_with_all] == ["all", "a.csv", "e/b.csv"]
    assert account.all.read.documents == 3 and account.root == PurePosixPath("d")


def test_lengths_of_a_group_are_those_of_both_splits() -> None:
    account = make_account(
        make_source(), train=[make_lengths({3: 2, 4: 1})], held=[make_lengths({3: 1, 9: 1})]
    )
    (lengths,) = account.lengths
    assert dict(zip(lengths.tokens, lengths.documents, strict=True)) == {3: 3, 4: 1, 9: 1}


def test_options_are_shown_as_they_are_typed_and_compared_with_the_defaults() -> None:
    options = {"simplify": False, "language": "", "min_han": 0.7, "hash": "xxh3", "tokenizer": "t"}
    account = make_account(make_source(), options={**options, "versions": {"opencc": "1"}})
    assert account.options == {
        "hash": "xxh3", "language": "", "min_han": "0.7", "simplify": "false"
    }  # fmt: skip
    assert account.chosen == {"min_han"} and account.versions == {"opencc": "1"}


def test_only_files_that_are_not_csv_in_plain_utf_8_are_unusual() -> None:
    encodings = ("utf-8", "utf-8-sig", "gb18030")
    sources = [make_source(f"d/{name}", encoding=name) for name in encodings]
    found = [kind_of(source) for source in make_account(*sources).unusual]
    assert found == ["csv, utf-8-sig", "csv, gb18030"]
