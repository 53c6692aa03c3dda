"""Packed shards as the data of a run: rows, shorter sequences, skipped rows, held-out text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpt2zh.config.stages import Stages
from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.data.order import rows_at
from gpt2zh.data.shard import VALIDATION, ShardSet
from gpt2zh.data.shard_data import Corpus, ShardData
from gpt2zh.model.shape import IGNORED
from gpt2zh.text.tokenizer import load_tokenizer


def data_of(
    folder: Path, *, lengths: Stages | None = None, skipped: tuple[int, ...] = ()
) -> ShardData:
    train = ShardSet.open(folder)
    corpus = Corpus("tiny", folder, 1.0, train.manifest, train, ShardSet.open(folder, VALIDATION))
    return ShardData(
        [corpus],
        load_tokenizer(folder / TOKENIZER_DIR),
        seed=3,
        row_length=train.row_length,
        lengths=lengths or Stages(),
        skipped=np.array(skipped, np.int64),
    )


def test_batches_are_the_rows_of_the_order(tiny_shards: Path) -> None:
    data, shards = data_of(tiny_shards), ShardSet.open(tiny_shards)
    numbers = data.order(5, 12)
    assert numbers.tolist() == rows_at(5, 12, rows=shards.rows, seed=3).tolist()
    batch = data.make_batch(numbers, 1)
    assert (batch.input_ids == shards.gather(numbers)).all()
    assert batch.numbers.tolist() == numbers.tolist()
    assert batch.tokens == int((batch.input_ids != data.tokenizer.pad_id).sum())


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_shorter_sequences_are_the_same_tokens_of_the_same_rows(
    tiny_shards: Path, step: int
) -> None:
    data = data_of(tiny_shards, lengths=Stages((8, 1), (16, 2)))
    numbers = np.arange(6)
    full, cut = data_of(tiny_shards).make_batch(numbers, step), data.make_batch(numbers, step)
    length = {1: 8, 2: 16, 3: 16, 4: 32}[step]
    assert cut.input_ids.shape == (6 * 32 // length, length)
    assert cut.input_ids.ravel().tolist() == full.input_ids.ravel().tolist()
    assert cut.tokens == full.tokens and cut.numbers.tolist() == full.numbers.tolist()
    assert cut.targets == int((cut.labels[:, 1:] != IGNORED).sum()) <= full.targets


def test_skipped_rows_are_padding_and_stay_in_the_order(tiny_shards: Path) -> None:
    """Their rows lie in a file that is mapped and must not be written."""
    data, plain = data_of(tiny_shards, skipped=(0, 7)), data_of(tiny_shards)
    numbers = np.array([3, 7, 0, 5])
    before = ShardSet.open(tiny_shards).gather(numbers)
    batch, whole = data.make_batch(numbers, 1), plain.make_batch(numbers, 1)
    pad = data.tokenizer.pad_id
    assert (batch.input_ids[[1, 2]] == pad).all() and (batch.labels[[1, 2]] == IGNORED).all()
    assert (batch.input_ids[[0, 3]] == whole.input_ids[[0, 3]]).all()
    assert batch.targets == plain.make_batch(numbers[[0, 3]], 1).targets
    assert batch.numbers.tolist() == numbers.tolist()
    assert (ShardSet.open(tiny_shards).gather(numbers) == before).all()
    assert data.order(0, 40).tolist() == plain.order(0, 40).tolist()
    assert data.skipped_rows == 2


def test_held_out_rows_are_those_of_the_validation_split(tiny_shards: Path) -> None:
    (held_out,) = data_of(tiny_shards).held_out
    shards = ShardSet.open(tiny_shards, VALIDATION)
    assert held_out.rows == shards.rows > 0
    numbers = np.arange(shards.rows)
    assert (held_out.make_batch(numbers).input_ids == shards.gather(numbers)).all()
    split = shards.manifest.splits[VALIDATION]
    assert (held_out.tokens, held_out.characters) == (split.tokens, split.characters)


def test_a_row_is_described_by_its_corpus_its_documents_and_its_text(tiny_shards: Path) -> None:
    found = data_of(tiny_shards).describe_row(2)
    assert (found["number"], found["corpus"], found["row"]) == (2, "tiny", 2)
    assert found["documents"] and {"file", "line"} == set(found["documents"][0])
    assert found["text"].strip()
