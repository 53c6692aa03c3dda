"""The account of every byte, and the proof that it sums up."""

from __future__ import annotations

from collections.abc import Sequence

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import Count, Manifest, Source


def total(sources: Sequence[Source]) -> dict[str, Count]:
    """Return how much of all sources met each fate."""
    sums: dict[str, Count] = {}
    for source in sources:
        for fate, count in source.fates.items():
            sums[fate] = sums.get(fate, Count()) + count
    return sums


def check_ledger(manifest: Manifest) -> None:
    """Compare the fates with what the readers counted, and the rows with the tokens.

    Raises:
        UserError: Something is unaccounted for.
    """
    faults = []
    for source in manifest.sources:
        sums = sum(source.fates.values(), Count())
        if (sums.documents, sums.bytes) != (source.records, source.read):
            faults.append(
                f"{source.path}: {source.records} records and {source.read} bytes were read, but "
                f"{sums.documents} records and {sums.bytes} bytes accounted for"
            )
        whole = source.compression == "" and source.encoding in ("utf-8", "utf-8-sig")
        if whole and source.format != "parquet" and source.read != source.bytes:
            faults.append(f"{source.path} has {source.bytes} bytes, but {source.read} were read")
    for name, split in manifest.splits.items():
        in_rows = split.rows * manifest.row_length - split.padding
        if manifest.packing == "full" and in_rows != split.tokens:
            faults.append(f"{name}: {split.tokens} tokens, but {in_rows} in rows")
        if manifest.packing == "zero_nlp":
            in_rows = split.rows * (manifest.row_length - 2)
            if in_rows + split.dropped_tokens != split.tokens:
                faults.append(f"{name}: {split.tokens} tokens, but {in_rows} in rows")
    for what in ("characters", "tokens"):
        by_source = sum(getattr(source, what) for source in manifest.sources)
        by_split = sum(getattr(split, what) for split in manifest.splits.values())
        if by_source != by_split:
            faults.append(f"{by_source} {what} in the sources, but {by_split} in the splits")
    if faults:
        raise UserError(
            "the ledger does not sum up to 100 %: "
            + "; ".join(faults)
            + "; this is a fault of gpt2zh, please report it; nothing was put in place"
        )
