"""Account for every byte and document of the input, and check that the sums agree."""

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
from gpt2zh.pages.numbers import plural

_ORDER = (KEPT, EXACT, NEAR, FILTERED, EMPTY, ASIDE, STRUCTURE)


def total(sources: Sequence[Source]) -> dict[str, Count]:
    """Return the total count of each fate over all sources, in the order of `by_kind`."""
    sums: dict[str, Count] = {}
    for source in sources:
        for fate, count in source.fates.items():
            sums[fate] = sums.get(fate, Count()) + count
    return dict(sorted(sums.items(), key=lambda item: (_ORDER.index(kind(item[0])), item[0])))


def kind(fate: str) -> str:
    """Return a fate without its rule or reason."""
    return next((whole for whole in (FILTERED, ASIDE) if fate.startswith(whole)), fate)


def by_kind(fates: dict[str, Count]) -> dict[str, Count]:
    """Return the count of each kind of fate, also where it is 0."""
    sums = dict.fromkeys(_ORDER, Count())
    for fate, count in fates.items():
        sums[kind(fate)] += count
    return sums


def check_ledger(manifest: Manifest) -> None:
    """Check the fates against the counts of the readers, and the rows against the tokens.

    Raises:
        UserError: Sums do not agree.
    """
    faults = ledger_faults(manifest)
    if faults:
        raise UserError(
            "the ledger does not sum up to 100 %: "
            + "; ".join(faults)
            + "; this is a bug of gpt2zh, please report it; no shards were written"
        )


def ledger_faults(manifest: Manifest) -> list[str]:
    """Return the sums that do not agree, one sentence each."""
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
        faults.append(
            f"{_count(kept, 'document')} kept of the sources, but {documents} in the splits"
        )
    return faults


def _count(number: int, noun: str) -> str:
    return plural(number, noun, show=str)


def _source_faults(source: Source) -> list[str]:
    faults = []
    sums = sum(source.fates.values(), Count())
    if (sums.documents, sums.bytes) != (source.records, source.read):
        faults.append(
            f"{source.path}: {_count(source.records, 'record')} and {_count(source.read, 'byte')} "
            f"were read, but {_count(sums.documents, 'record')} and {_count(sums.bytes, 'byte')} "
            "accounted for"
        )
    whole = source.compression == "" and source.encoding in ("utf-8", "utf-8-sig")
    if whole and source.format != "parquet" and source.read != source.bytes:
        faults.append(
            f"{source.path} has {_count(source.bytes, 'byte')}, but {source.read} were read"
        )
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
        faults.append(f"{name}: {_count(split.tokens, 'token')}, but {in_rows} in rows or dropped")
    return faults
