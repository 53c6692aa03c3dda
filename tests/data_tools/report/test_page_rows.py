"""The page's sections about the output: rows, shards, and the options that decided."""

from __future__ import annotations

from dataclasses import replace

from ledgers import make_source

from data_tools.report.account import Account
from data_tools.report.page_rows import options, rows
from data_tools.shards.inventory import list_files
from gpt2zh.data.manifest import KEPT, FileEntry, UnitEntry

from .conftest import make_account


def account_of(**more: object) -> Account:
    return make_account(make_source(fates={KEPT: (3, 90)}, characters=30, tokens=20), **more)


def test_rows_and_shards_have_their_padding_and_what_was_dropped() -> None:
    account = account_of()
    train = replace(account.manifest.splits["train"], dropped_tokens=5, dropped_documents=1)
    splits = account.manifest.splits | {"train": train}
    section = rows(replace(account, manifest=replace(account.manifest, splits=splits)))
    assert section.splits.rows == [
        ["train", "3", "30", "20", "3", "4", "5", "25.00", "1"],
        ["validation", "0", "0", "0", "0", "0", "0", "-", "0"],
    ]
    assert section.shards.rows == [["train-00000-000.arrow", "train", "0", "3", "4", "48"]]
    assert all(len(row) == len(section.splits.head) for row in section.splits.rows)


def test_every_other_file_that_the_manifest_lists_is_shown() -> None:
    account = account_of()
    table, keys = (FileEntry(file=name, bytes=1234, sha256="0") for name in ("d", "n"))
    units = (UnitEntry(number=0, documents=table, bands=keys), UnitEntry(number=1, documents=table))
    extras = tuple(replace(table, file=name) for name in ("near_duplicates-00000.parquet", "x"))
    manifest = replace(account.manifest, units=units, extras=extras)
    section = rows(replace(account, manifest=manifest))
    assert section.other_files.rows == [
        ["d", "0", "1,234"],
        ["n", "0", "1,234"],
        ["d", "1", "1,234"],
        ["near_duplicates-00000.parquet", "-", "1,234"],
        ["x", "-", "1,234"],
    ]
    shown = {row[0] for row in section.shards.rows + section.other_files.rows}
    assert shown == {item.entry.file for item in list_files(manifest)}


def test_chosen_options_come_before_those_with_their_defaults() -> None:
    chosen = {"packing": "full", "row_length": 8, "simplify": True, "tokenizer": "a"}
    section = options(account_of(options={**chosen, "versions": {"b": "2", "a": "1"}}))
    assert section.options.rows == [
        ["row_length", "8", "chosen"],
        ["simplify", "true", "chosen"],
        ["packing", "full", "default"],
    ]
    assert section.versions.rows == [["a", "1"], ["b", "2"]]
    assert ["bos, eos, pad", "0, 1, 2"] in section.tokenizer.rows
