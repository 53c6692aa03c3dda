"""Small folders of shards with rows of random tokens, written without a preparation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gpt2zh.data.manifest import (
    Count,
    Extent,
    Manifest,
    ShardEntry,
    Source,
    Split,
    SplitRule,
    TokenizerInfo,
    write_manifest,
)
from gpt2zh.data.shard import write_shard

LENGTH = 16
HASH = "a" * 64
PAD = 2


def make_rows(
    rows: int, seed: int = 0, dtype: type = np.uint16, length: int = LENGTH
) -> np.ndarray:
    top = 65_000 if dtype is np.uint16 else 200_000
    return np.random.default_rng(seed).integers(PAD + 1, top, (rows, length)).astype(dtype)


def make_set(
    folder: Path,
    sizes: tuple[int, ...] = (5, 1, 7),
    dtype: type = np.uint16,
    *,
    padding: tuple[int, ...] = (),
    packing: str = "full",
) -> np.ndarray:
    """Write a folder of shards whose last rows end with padding; return all rows."""
    blocks = [make_rows(size, seed, dtype) for seed, size in enumerate(sizes)]
    for block, missing in zip(blocks, padding, strict=False):
        block.reshape(-1)[block.size - missing :] = PAD
    entries = [
        write_shard(folder / f"train-{i:05d}.arrow", block, tokenizer_hash=HASH)
        for i, block in enumerate(blocks)
    ]
    for i, missing in enumerate(padding):
        entries[i] = dataclasses.replace(entries[i], padding=missing)
    write_manifest(folder, make_manifest(tuple(entries), sum(padding), packing))
    return np.concatenate(blocks)


def make_manifest(
    entries: tuple[ShardEntry, ...],
    padding: int = 0,
    packing: str = "full",
    *,
    row_length: int = LENGTH,
) -> Manifest:
    rows = sum(entry.rows for entry in entries)
    counts = {"dropped_tokens": 0, "dropped_documents": 0}
    split = Split(
        documents=3, characters=9, tokens=7, rows=rows, padding=padding, shards=entries, **counts
    )
    empty = Split(documents=0, characters=0, tokens=0, rows=0, padding=0, shards=(), **counts)
    source = Source(
        path="a.csv",
        format="csv",
        compression="none",
        encoding="utf-8",
        bytes=9,
        read=9,
        records=4,
        fates={"kept": Count(documents=3, bytes=8), "empty": Count(documents=1, bytes=1)},
        characters=9,
        tokens=7,
        extents=(Extent(begin=0, end=9, line=1, digest="d"),),
    )
    return Manifest(
        tokenizer=TokenizerInfo(
            name="t", hash=HASH, vocab_size=1 << 16, bos_id=0, eos_id=1, pad_id=2
        ),
        row_length=row_length,
        packing=packing,
        split_rule=SplitRule(hash="blake2b-64", validation_fraction=0.1),
        splits={"train": split, "validation": empty},
        sources=(source,),
    )
