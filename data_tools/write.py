"""Rows of one split to numbered shard files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt2zh.data.manifest import ShardEntry, Split
from gpt2zh.data.packing import Packer
from gpt2zh.data.shard import write_shard


class SplitWriter:
    """Packs documents and writes a shard whenever enough rows are full."""

    def __init__(
        self, folder: Path, split: str, packer: Packer, buffer: np.ndarray, *, tokenizer_hash: str
    ) -> None:
        """Begin a split.

        Args:
            folder: Where the shards go.
            split: Their first name.
            packer: The rule by which documents become rows.
            buffer: Holds the rows of one shard while they are gathered, (shard rows, T).
            tokenizer_hash: Which tokenizer makes the ids.
        """
        self._folder = folder
        self._split = split
        self._packer = packer
        self._buffer = buffer
        self._filled = 0
        self._tokenizer_hash = tokenizer_hash
        self._shards: list[ShardEntry] = []
        self._documents = 0
        self._characters = 0
        self._tokens = 0

    def add(self, documents: Sequence[Sequence[int]], *, characters: int) -> None:
        """Take encoded documents, which have so many characters together."""
        self._documents += len(documents)
        self._characters += characters
        self._tokens += sum(map(len, documents)) + len(documents) * self._packer.closing_tokens
        self._store(self._packer.add(documents))

    def finish(self) -> Split:
        """Write what is left and return the account of the split."""
        self._store(self._packer.finish())
        if self._filled:
            self._flush()
        return Split(
            documents=self._documents,
            characters=self._characters,
            tokens=self._tokens,
            rows=sum(shard.rows for shard in self._shards),
            padding=self._packer.padding,
            dropped_tokens=self._packer.dropped_tokens,
            dropped_documents=self._packer.dropped_documents,
            shards=tuple(self._shards),
        )

    def _store(self, rows: np.ndarray) -> None:
        while len(rows):
            taken = rows[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rows = rows[len(taken) :]
            if self._filled == len(self._buffer):
                self._flush()

    def _flush(self) -> None:
        path = self._folder / f"{self._split}-{len(self._shards):05d}.arrow"
        rows = self._buffer[: self._filled]
        self._shards.append(write_shard(path, rows, tokenizer_hash=self._tokenizer_hash))
        self._filled = 0
