"""Packed shards as the data of a run: rows, shorter sequences, skipped rows, held-out text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from gpt2zh.config.errors import UserError
from gpt2zh.config.stages import Stages
from gpt2zh.data.manifest import TOKENIZER_DIR, read_manifest, write_manifest
from gpt2zh.data.mapped_file import MappedFile
from gpt2zh.data.order import rows_at
from gpt2zh.data.shard import VALIDATION, Shard, ShardSet, write_shard
from gpt2zh.data.shard_data import Corpus, ShardData
from gpt2zh.model.shape import IGNORED
from gpt2zh.text.tokenizer import load_tokenizer


def data_of(
    *folders: Path,
    lengths: Stages | None = None,
    skipped: tuple[int, ...] = (),
    row_length: int = 32,
) -> ShardData:
    corpora = []
    for folder in folders:
        train = ShardSet.open(folder, row_length=row_length)
        held_out = ShardSet.open(folder, VALIDATION, row_length=row_length)
        corpora.append(Corpus("tiny", folder, 1.0, train.manifest, train, held_out))
    return ShardData(
        corpora,
        load_tokenizer(folders[0] / TOKENIZER_DIR),
        seed=3,
        row_length=row_length,
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


def masked_copy(shards: Path, target: Path, mask_of: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The same shards with a loss mask, made from the tokens of each file."""
    shutil.copytree(shards, target)
    manifest = read_manifest(target)
    splits = {}
    for name, split in manifest.splits.items():
        entries = []
        for entry in split.shards:
            rows = Shard(shards / entry.file).tokens.copy()
            made = write_shard(
                target / entry.file,
                rows,
                tokenizer_hash=manifest.tokenizer.hash,
                mask=mask_of(rows).astype(np.uint8),
            )
            entries.append(replace(entry, bytes=made.bytes, sha256=made.sha256))
        splits[name] = replace(split, shards=tuple(entries))
    write_manifest(target, replace(manifest, splits=splits))
    return target


def every_other(rows: np.ndarray) -> np.ndarray:
    return np.arange(rows.size).reshape(rows.shape) % 2


@pytest.mark.parametrize("row_length", [32, 16, 20])
def test_a_loss_mask_counts_its_tokens_only(
    tiny_shards: Path, tmp_path: Path, row_length: int
) -> None:
    masked = data_of(masked_copy(tiny_shards, tmp_path / "m", every_other), row_length=row_length)
    plain = data_of(tiny_shards, row_length=row_length)
    numbers = np.arange(plain.rows)
    one, other = plain.make_batch(numbers, 1), masked.make_batch(numbers, 1)
    assert (other.input_ids == one.input_ids).all() and other.tokens == one.tokens
    counted = every_other(np.zeros(one.input_ids.shape)).astype(bool)  # one shard, even lengths
    assert (other.labels == np.where(counted, one.labels, IGNORED)).all()
    assert other.targets == int((other.labels[:, 1:] != IGNORED).sum()) < one.targets
    (held_out,) = masked.held_out
    assert held_out.make_batch(np.arange(1)).targets <= 16


def test_a_mask_of_ones_changes_no_number(tiny_shards: Path, tmp_path: Path) -> None:
    masked = data_of(masked_copy(tiny_shards, tmp_path / "masked", np.ones_like))
    plain = data_of(tiny_shards)
    for step, numbers in enumerate(plain.order(0, 60).reshape(6, 10), 1):
        one, other = plain.make_batch(numbers, step), masked.make_batch(numbers, step)
        assert (one.labels == other.labels).all() and (one.input_ids == other.input_ids).all()
        assert (one.targets, one.tokens) == (other.targets, other.tokens)


def test_corpora_with_and_without_a_mask_mix(tiny_shards: Path, tmp_path: Path) -> None:
    folder = masked_copy(tiny_shards, tmp_path / "masked", np.zeros_like)
    data = data_of(tiny_shards, folder)
    rows = data.rows // 2
    assert data.make_batch(np.arange(rows), 1).targets > 0
    assert data.make_batch(np.arange(rows, 2 * rows), 1).targets == 0


def test_shards_with_a_mask_open_as_a_dataset(tiny_shards: Path, tmp_path: Path) -> None:
    folder = masked_copy(tiny_shards, tmp_path / "masked", every_other)
    entry = read_manifest(folder).splits["train"].shards[0]
    found = Dataset.from_file(str(folder / entry.file))
    assert found.column_names == ["input_ids", "loss_mask"]
    assert found[0]["loss_mask"] == [0, 1] * 16


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


@pytest.fixture
def copied(tiny_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_shards, tmp_path / "copied"))


def batch_from(data: ShardData, split: str) -> object:
    """All rows of a split, as a batch."""
    if split == "train":
        return data.make_batch(np.arange(data.rows), 1)
    return data.held_out[0].make_batch(np.arange(data.held_out[0].rows))


@pytest.mark.parametrize("row_length", [32, 20])
@pytest.mark.parametrize("split", ["train", VALIDATION])
def test_a_shard_that_is_truncated_while_it_is_read_is_named(
    copied: Path, monkeypatch: pytest.MonkeyPatch, split: str, row_length: int
) -> None:
    """The kernel would kill the process, without a word (SIGBUS)."""
    monkeypatch.setattr(MappedFile.check, "__kwdefaults__", {"at_most_every": 0.0})
    data = data_of(copied, row_length=row_length)
    for entry in read_manifest(copied).splits[split].shards:
        os.truncate(copied / entry.file, 100)
    with pytest.raises(UserError, match=rf"shard .*{split}-.* is truncated.*changed while"):
        batch_from(data, split)


@pytest.mark.parametrize("split", ["train", VALIDATION])
def test_an_id_that_the_model_has_not_is_refused_on_the_host(copied: Path, split: str) -> None:
    """On a GPU every rank would die of it, later and without a row number."""
    manifest = read_manifest(copied)
    (entry,) = manifest.splits[split].shards
    rows = Shard(copied / entry.file).tokens.copy()
    rows[0, 5] = manifest.tokenizer.vocab_size
    changed = write_shard(copied / entry.file, rows, tokenizer_hash=manifest.tokenizer.hash)
    shards = replace(manifest.splits[split], shards=[replace(entry, **vars(changed))])
    write_manifest(copied, replace(manifest, splits=manifest.splits | {split: shards}))
    data = data_of(copied)
    told = f"hold the id {manifest.tokenizer.vocab_size}, but the tokenizer has only"
    with pytest.raises(UserError, match=told):
        batch_from(data, split)
    with pytest.raises(UserError, match=told):
        ShardSet.open(copied, split).verify()
