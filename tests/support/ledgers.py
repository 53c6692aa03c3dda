"""Manifests whose ledger sums up, made without a preparation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpt2zh.data.manifest import (
    KEPT,
    Count,
    Extent,
    Manifest,
    ShardEntry,
    Source,
    Split,
    SplitRule,
    TokenizerInfo,
)

LENGTH = 8


def make_source(
    path: str = "d/a.csv",
    fates: Mapping[str, tuple[int, int]] | None = None,
    *,
    characters: int = 0,
    tokens: int = 0,
    encoding: str = "utf-8",
) -> Source:
    """Return a source of which everything is accounted for.

    Args:
        path: Of the file.
        fates: Documents and bytes by fate.
        characters: Of the documents kept.
        tokens: Of the documents kept.
        encoding: Of the file.
    """
    counts = {name: Count(documents=n, bytes=size) for name, (n, size) in (fates or {}).items()}
    read = sum(counts.values(), Count())
    return Source(
        path=path,
        format="csv",
        compression="",
        encoding=encoding,
        bytes=read.bytes,
        read=read.bytes,
        records=read.documents,
        fates=counts,
        characters=characters,
        tokens=tokens,
        extents=(Extent(begin=0, end=read.bytes, line=1, digest="d"),),
    )


def make_split(*, documents: int = 0, characters: int = 0, tokens: int = 0) -> Split:
    """Return a split with one shard, or without one if there are no tokens."""
    rows = -(-tokens // LENGTH)
    padding = rows * LENGTH - tokens
    shard = ShardEntry(
        file="train-00000-000.arrow",
        rows=rows,
        bytes=2 * LENGTH * rows,
        sha256="0",
        padding=padding,
    )
    return Split(
        documents=documents,
        characters=characters,
        tokens=tokens,
        rows=rows,
        padding=padding,
        dropped_tokens=0,
        dropped_documents=0,
        shards=(shard,) if rows else (),
    )


def make_ledger(
    sources: Sequence[Source],
    *,
    options: Mapping[str, object] | None = None,
    unknown: Mapping[str, int] | None = None,
) -> Manifest:
    """Return a manifest with all kept documents of the sources in the training split."""
    train = make_split(
        documents=sum(source.fates.get(KEPT, Count()).documents for source in sources),
        characters=sum(source.characters for source in sources),
        tokens=sum(source.tokens for source in sources),
    )
    return Manifest(
        tokenizer=TokenizerInfo(name="t", hash="a", vocab_size=9, bos_id=0, eos_id=1, pad_id=2),
        row_length=LENGTH,
        packing="full",
        split_rule=SplitRule(hash="xxh3-64", validation_fraction=0.1),
        splits={"train": train, "validation": make_split()},
        sources=tuple(sources),
        options=dict(options or {}),
        unknown=dict(unknown or {}),
    )
