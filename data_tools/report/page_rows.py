"""The page's sections about the output: rows, shards, and the options that decided."""

from __future__ import annotations

from dataclasses import dataclass

from data_tools.report.account import Account
from gpt2zh.pages.html import Table
from gpt2zh.pages.numbers import count, share


@dataclass(frozen=True)
class RowsSection:
    """Rows, padding and what is in no row; every file that the manifest lists."""

    splits: Table
    shards: Table
    other_files: Table


@dataclass(frozen=True)
class OptionsSection:
    """All that decided what the rows are."""

    options: Table
    tokenizer: Table
    versions: Table


def rows(account: Account) -> RowsSection:
    """Return the tables about rows and shards."""
    manifest = account.manifest
    by_split = [
        [
            name,
            *map(count, (split.documents, split.characters, split.tokens, split.rows)),
            count(split.padding),
            count(split.dropped_tokens),
            share(split.dropped_tokens, split.tokens),
            count(split.dropped_documents),
        ]
        for name, split in manifest.splits.items()
    ]
    head = ["split", "documents", "characters", "tokens", "rows", "padding", "dropped tokens", "%"]
    head += ["documents dropped whole"]
    shards = [
        [shard.file, name, *map(count, (shard.unit, shard.rows, shard.padding, shard.bytes))]
        for name, split in manifest.splits.items()
        for shard in split.shards
    ]
    others = [
        [entry.file, count(unit.number), count(entry.bytes)]
        for unit in manifest.units
        for entry in (unit.documents, unit.bands)
        if entry is not None
    ]
    others += [[entry.file, "-", count(entry.bytes)] for entry in manifest.extras]
    return RowsSection(
        splits=Table(head, by_split),
        shards=Table(["shard", "split", "unit", "rows", "padding", "bytes"], shards, left=2),
        other_files=Table(["file", "unit", "bytes"], others),
    )


def options(account: Account) -> OptionsSection:
    """Return the tables about options, tokenizer and versions."""
    tokenizer = account.manifest.tokenizer
    values = sorted(
        account.options.items(), key=lambda item: (item[0] not in account.chosen, item[0])
    )
    chosen = [
        [name, value, "chosen" if name in account.chosen else "default"] for name, value in values
    ]
    facts = [
        ["name", tokenizer.name],
        ["hash", tokenizer.hash],
        ["ids", count(tokenizer.vocab_size)],
        ["bos, eos, pad", f"{tokenizer.bos_id}, {tokenizer.eos_id}, {tokenizer.pad_id}"],
    ]
    versions = [[name, version] for name, version in sorted(account.versions.items())]
    return OptionsSection(
        options=Table(["option", "value", ""], chosen, left=3),
        tokenizer=Table(["tokenizer", ""], facts, left=2),
        versions=Table(["library", "version"], versions, left=2),
    )
