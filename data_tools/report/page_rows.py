"""The page's sections about what was made: rows, shards, and the options that decided."""

from __future__ import annotations

from data_tools.report.account import Account
from data_tools.report.figures import count, share
from data_tools.report.markup import Markup, element, folded, table


def rows(account: Account) -> list[Markup]:
    """Show rows, padding and what is in no row, then every shard."""
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
    shards = [
        [shard.file, name, *map(count, (shard.unit, shard.rows, shard.padding, shard.bytes))]
        for name, split in manifest.splits.items()
        for shard in split.shards
    ]
    beside = [
        [entry.file, count(unit.number), count(entry.bytes)]
        for unit in manifest.units
        for entry in (unit.documents, unit.bands)
        if entry is not None
    ]
    return [
        element(
            "p",
            f"Rows of {manifest.row_length} tokens, packing {manifest.packing}; the documents held "
            f"out are chosen by {manifest.split_rule.hash}, a fraction of "
            f"{manifest.split_rule.validation_fraction:g}.",
        ),
        table([*head, "documents dropped whole"], by_split),
        folded(
            f"All {len(shards)} shards",
            table(["shard", "split", "unit", "rows", "padding", "bytes"], shards, left=2),
        ),
        folded(f"The {len(beside)} files beside them", table(["file", "unit", "bytes"], beside)),
    ]


def options(account: Account) -> list[Markup]:
    """Show all that decided what the rows are."""
    tokenizer = account.manifest.tokenizer
    chosen = [
        [name, value, "chosen"] for name, value in account.options.items() if name in account.chosen
    ]
    others = [
        [name, value, "default"]
        for name, value in account.options.items()
        if name not in account.chosen
    ]
    facts = [
        ["name", tokenizer.name],
        ["hash", tokenizer.hash],
        ["ids", count(tokenizer.vocab_size)],
        ["bos, eos, pad", f"{tokenizer.bos_id}, {tokenizer.eos_id}, {tokenizer.pad_id}"],
    ]
    versions = [[name, version] for name, version in sorted(account.versions.items())]
    return [
        table(["option", "value", ""], [*chosen, *others], left=3),
        table(["tokenizer", ""], facts, left=2),
        *([table(["version", ""], versions, left=2)] if versions else []),
    ]
