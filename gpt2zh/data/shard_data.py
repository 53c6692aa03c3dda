"""The data of pretraining: packed shards of one or several corpora."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt2zh.config.errors import UserError
from gpt2zh.config.stages import Stages
from gpt2zh.data.batch import Batch, batch_of, check_ids
from gpt2zh.data.manifest import Manifest, Split
from gpt2zh.data.mixture import CYCLE, Mixture
from gpt2zh.data.rows import Rows
from gpt2zh.data.shard import VALIDATION, ShardSet
from gpt2zh.pages.numbers import plural
from gpt2zh.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Corpus:
    """One folder of shards, opened."""

    name: str
    """As much of its folder's path as tells it apart from the other corpora."""
    folder: Path
    weight: float
    """Relative number of tokens read from it."""
    manifest: Manifest
    train: ShardSet
    held_out: ShardSet | None
    """The validation split; None if it is empty."""

    @property
    def validation(self) -> Split:
        """The manifest's entry of the held-out text."""
        return self.manifest.splits[VALIDATION]

    @property
    def share(self) -> float:
        """Relative number of rows read from it: the weight counts tokens, and rows have padding."""
        return self.weight * self.train.rows / self.train.tokens


class HeldOutShards:
    """The validation split of a corpus."""

    def __init__(
        self, name: str, shards: ShardSet, split: Split, *, tokenizer: TextTokenizer
    ) -> None:
        """Take the rows, the manifest's entry of their text, and the tokenizer of the run."""
        self.name = name
        self.rows = shards.rows
        self.tokens = split.tokens
        self.characters = split.characters
        self._shards = shards
        self._masks = _join_masks([shards], shards.row_length)
        self._tokenizer = tokenizer

    def make_batch(self, numbers: np.ndarray) -> Batch[np.ndarray]:
        """Return the rows with these numbers, (n,), as a batch.

        Raises:
            UserError: As in `ShardData.make_batch`.
        """
        rows = self._shards.gather(numbers)
        check_ids(rows, self._tokenizer.vocab_size, f"the validation rows of {self.name}")
        counted = None if self._masks is None else self._masks.gather(numbers).astype(bool)
        pad = self._tokenizer.pad_id
        return batch_of(rows, pad_id=pad, numbers=numbers, counted=counted)


class ShardData:
    """Packed shards as `data.training_data.TrainingData`."""

    def __init__(
        self,
        corpora: Sequence[Corpus],
        tokenizer: TextTokenizer,
        *,
        seed: int,
        row_length: int,
        lengths: Stages,
        skipped: np.ndarray,
    ) -> None:
        """Join corpora of one tokenizer and one packing.

        Args:
            corpora: At least one, each with training rows.
            tokenizer: The tokenizer that made them.
            seed: Seed of the order.
            row_length: Tokens of a row.
            lengths: Shorter sequences of the first steps; each divides the row length.
            skipped: Sorted numbers of the rows that are read without loss.
        """
        self.corpora = tuple(corpora)
        self.tokenizer = tokenizer
        self.skipped = skipped
        self._lengths = lengths
        blocks = [block for corpus in corpora for block in corpus.train.blocks]
        files = [file for corpus in corpora for file in corpus.train.files]
        self._rows = Rows(blocks, row_length=row_length, files=files)
        self._masks = _join_masks([corpus.train for corpus in corpora], row_length)
        self._walk = Mixture(
            [corpus.train.rows for corpus in corpora],
            shares=[corpus.share for corpus in corpora],
            seed=seed,
        )
        self.held_out = tuple(
            HeldOutShards(corpus.name, shards, corpus.validation, tokenizer=tokenizer)
            for corpus in corpora
            if (shards := corpus.held_out) is not None
        )

    @property
    def rows(self) -> int:
        """Training rows of all corpora."""
        return self._rows.rows

    @property
    def skipped_rows(self) -> int:
        """Training rows that are read without loss."""
        return len(self.skipped)

    @property
    def document_start_id(self) -> int:
        """The token before every document in the rows."""
        packing = self.corpora[0].manifest.packing
        if packing == "zero_nlp" and self.tokenizer.cls_id is not None:
            return self.tokenizer.cls_id
        return self.tokenizer.eos_id

    @property
    def identity(self) -> dict[str, Any]:
        """The fingerprints of the shards, with their shares if there are several."""
        shares = (self._walk.slots / CYCLE).tolist()
        data = [
            {"fingerprint": corpus.train.fingerprint, "share": share}
            for corpus, share in zip(self.corpora, shares, strict=True)
        ]
        return {
            "data": data if len(data) > 1 else data[0]["fingerprint"],
            "tokenizer": self.tokenizer.hash,
        }

    def order(self, position: int, count: int) -> np.ndarray:
        """Return the row numbers of `count` positions from `position` on, (count,)."""
        return self._walk.at(position, count)

    def make_batch(self, numbers: np.ndarray, step: int) -> Batch[np.ndarray]:
        """Return rows as a batch; early steps may cut each row into several shorter sequences.

        Skipped rows become padding, which has no loss.

        Raises:
            UserError: A shard was changed since it was opened, or holds ids that the tokenizer has
                not.
        """
        rows = self._rows.gather(numbers)
        check_ids(rows, self.tokenizer.vocab_size, "the training rows")
        if len(self.skipped):
            rows[np.isin(numbers, self.skipped)] = self.tokenizer.pad_id
        length = self._lengths.at(step, then=self._rows.row_length)
        counted = None
        if self._masks is not None:
            counted = self._masks.gather(numbers).astype(bool).reshape(-1, length)
        pad = self.tokenizer.pad_id
        return batch_of(rows.reshape(-1, length), pad_id=pad, numbers=numbers, counted=counted)

    def changed_files(self) -> list[str]:
        """Return a sentence for each shard that was changed since it was opened."""
        held_out = [corpus.held_out.files for corpus in self.corpora if corpus.held_out is not None]
        files = {
            file for part in (self._rows.files, *held_out) for file in part if file is not None
        }
        return sorted(change for file in files if (change := file.describe_change()) is not None)

    def epochs(self, rows: int) -> dict[str, float]:
        """Return how often each corpus was read, by name, after `rows` rows."""
        names = [corpus.name for corpus in self.corpora]
        return dict(zip(names, self._walk.epochs(rows), strict=True))

    def describe(self) -> list[str]:
        """Return a line with the weight and size of each corpus, if there are several."""
        if len(self.corpora) == 1:
            return []
        total = sum(corpus.weight for corpus in self.corpora)
        return [
            f"{corpus.name}: {corpus.weight / total:.1%} of the tokens, from "
            f"{plural(corpus.train.rows, 'row')}"
            for corpus in self.corpora
        ]

    def describe_row(self, number: int) -> dict[str, Any]:
        """Return the corpus, number, documents and text of a row."""
        from gpt2zh.data.documents import find_documents  # it loads pyarrow.parquet

        begin = 0
        for corpus in self.corpora:
            if number < begin + corpus.train.rows:
                break
            begin += corpus.train.rows
        tokens = corpus.train.gather(np.array([number - begin]))[0]
        try:
            documents: list[dict[str, Any]] = [
                {"file": part.path, "line": part.line}
                for part in find_documents(corpus.train, number - begin)
            ]
        except UserError as error:  # training goes on without the table of documents
            documents = [{"unknown": str(error)}]
        return {
            "number": number,
            "corpus": corpus.name,
            "row": number - begin,
            "documents": documents,
            "text": self.tokenizer.decode(tokens),
        }


def _join_masks(parts: Sequence[ShardSet], row_length: int) -> Rows | None:
    """Return the loss masks of all rows; None if every token of every part counts."""
    masks = [part.masks for part in parts]
    if all(mask is None for mask in masks):
        return None
    ones = np.ones(1, np.uint8)
    blocks = [
        block
        for part, mask in zip(parts, masks, strict=True)
        for block in (
            [np.broadcast_to(ones, block.shape) for block in part.blocks] if mask is None else mask
        )
    ]
    return Rows(blocks, row_length=row_length)
