"""The account of every byte, and the proof that it sums up."""

from __future__ import annotations

from collections.abc import Sequence

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import (
    ASIDE,
    EMPTY,
    EXACT,
    FILTERED,
    KEPT,
    NEAR,
    STRUCTURE,
    Count,
    Manifest,
    Source,
    Split,
)

_ORDER = (KEPT, EXACT, NEAR, FILTERED, EMPTY, ASIDE, STRUCTURE)


def total(sources: Sequence[Source]) -> dict[str, Count]:
    """Return how much of all sources met each fate, in the order of `by_kind`."""
    sums: dict[str, Count] = {}
    for source in sources:
        for fate, count in source.fates.items():
            sums[fate] = sums.get(fate, Count()) + count
    return dict(sorted(sums.items(), key=lambda item: (_ORDER.index(kind(item[0])), item[0])))


def kind(fate: str) -> str:
    """Return the fate without its rule or reason: one of those that the manifest names."""
    return next((whole for whole in (FILTERED, ASIDE) if fate.startswith(whole)), fate)


def by_kind(fates: dict[str, Count]) -> dict[str, Count]:
    """Return how much met each kind of fate; every kind is there."""
    sums = dict.fromkeys(_ORDER, Count())
    for fate, count in fates.items():
        sums[kind(fate)] += count
    return sums


def check_ledger(manifest: Manifest) -> None:
    """Compare the fates with what the readers counted, and the rows with the tokens.

    Raises:
        UserError: Something is unaccounted for.
    """
    faults = ledger_faults(manifest)
    if faults:
        raise UserError(
            "the ledger does not sum up to 100 %: "
            + "; ".join(faults)
            + "; this is a fault of gpt2zh, please report it; nothing was put in place"
        )


def ledger_faults(manifest: Manifest) -> list[str]:
    """Return what is unaccounted for, one sentence each."""
    faults = [fault for source in manifest.sources for fault in _source_faults(source)]
    for name, split in manifest.splits.items():
        faults += _split_faults(name, split, manifest)
    for what in ("characters", "tokens"):
        by_source = sum(getattr(source, what) for source in manifest.sources)
        by_split = sum(getattr(split, what) for split in manifest.splits.values())
        if by_source != by_split:
            faults.append(f"{by_source} {what} in the sources, but {by_split} in the splits")
    kept = total(manifest.sources).get(KEPT, Count()).documents
    documents = sum(split.documents for split in manifest.splits.values())
    if kept != documents:
        faults.append(f"{kept} documents kept of the sources, but {documents} in the splits")
    return faults


def _source_faults(source: Source) -> list[str]:
    faults = []
    sums = sum(source.fates.values(), Count())
    if (sums.documents, sums.bytes) != (source.records, source.read):
        faults.append(
            f"{source.path}: {source.records} records and {source.read} bytes were read, but "
            f"{sums.documents} records and {sums.bytes} bytes accounted for"
        )
    whole = source.compression == "" and source.encoding in ("utf-8", "utf-8-sig")
    if whole and source.format != "parquet" and source.read != source.bytes:
        faults.append(f"{source.path} has {source.bytes} bytes, but {source.read} were read")
    return faults


def _split_faults(name: str, split: Split, manifest: Manifest) -> list[str]:
    faults = []
    for what in ("rows", "padding"):
        in_shards = sum(getattr(shard, what) for shard in split.shards)
        if in_shards != getattr(split, what):
            faults.append(f"{name}: {getattr(split, what)} {what}, but {in_shards} in its shards")
    if manifest.packing == "full":
        in_rows = split.rows * manifest.row_length - split.padding
    else:
        in_rows = split.rows * (manifest.row_length - 2) + split.dropped_tokens
    if in_rows != split.tokens:
        faults.append(f"{name}: {split.tokens} tokens, but {in_rows} in rows or dropped")
    return faults
