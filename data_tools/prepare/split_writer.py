"""Pack the documents of one split of one unit, and write shards of the rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from data_tools.config import PrepareConfig
from data_tools.prepare.plan import PreparePlan
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import ShardEntry, Split, TokenizerInfo
from gpt2zh.data.packing import FullPacker, Packer, ZeroNlpPacker
from gpt2zh.data.shard import write_shard
from gpt2zh.text.id_type import token_dtype


def make_packer(config: PrepareConfig, tokenizer: TokenizerInfo) -> Packer:
    """Return a fresh packer of the configured kind.

    Raises:
        UserError: The tokenizer lacks the tokens that the packing puts around a chunk.
    """
    dtype = token_dtype(tokenizer.vocab_size)
    if config.packing == "full":
        return FullPacker(config.row_length, pad_id=tokenizer.pad_id, dtype=dtype)
    if tokenizer.cls_id is None or tokenizer.sep_id is None:
        raise UserError(
            f"--packing zero_nlp puts [CLS] and [SEP] around each chunk, which the tokenizer "
            f"{tokenizer.name} does not have; use --tokenizer bert-base-chinese (or the path of "
            "its vocab.txt) or --packing full"
        )
    return ZeroNlpPacker(
        config.row_length, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id, dtype=dtype
    )


class SplitWriter:
    """Packs the documents of one split of one unit and writes shards of them."""

    def __init__(self, plan: PreparePlan, folder: Path, split: str, unit: int) -> None:
        self._folder = folder
        self._stem = f"{split}-{unit:05d}"
        self._limit = plan.config.shard_rows
        self._packer = make_packer(plan.config, plan.tokenizer)
        self._tokenizer = plan.tokenizer
        self._unit = unit
        self._waiting: list[np.ndarray] = []
        self._rows = 0
        self._shards: list[ShardEntry] = []
        self._documents = 0
        self._characters = 0
        self._tokens = 0

    def add(self, ids: np.ndarray, counts: np.ndarray, *, characters: int) -> None:
        """Pack documents; see `Packer.add`."""
        self._documents += len(counts)
        self._characters += characters
        self._tokens += len(ids)
        self._store(self._packer.add(ids, counts))

    def finish(self) -> Split:
        """Write what is left and return the account of the split."""
        self._store(self._packer.finish())
        if self._rows:
            self._flush(self._rows)
        if self._shards:
            self._shards[-1] = replace(self._shards[-1], padding=self._packer.padding)
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
        if len(rows):
            self._waiting.append(rows)
            self._rows += len(rows)
        while self._rows >= self._limit:
            self._flush(self._limit)

    def _flush(self, count: int) -> None:
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        path = self._folder / f"{self._stem}-{len(self._shards):03d}.arrow"
        entry = write_shard(path, rows[:count], tokenizer_hash=self._tokenizer.hash)
        self._shards.append(replace(entry, unit=self._unit))
        self._waiting = [rows[count:]]
        self._rows -= count
