"""The file format: written once, mapped without a copy, refused when it is not what was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from shard_sets import HASH, LENGTH, PAD, make_rows, make_set

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.errors import UserError
from gpt2zh.data.packing import unpack
from gpt2zh.data.shard import Shard, ShardSet, write_shard


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_rows_come_back_equal_and_uncopied(tmp_path: Path, dtype: type) -> None:
    rows = make_rows(9, dtype=dtype)
    write_shard(tmp_path / "s.arrow", rows, tokenizer_hash=HASH)
    before = pa.total_allocated_bytes()
    shard = Shard(tmp_path / "s.arrow")
    assert pa.total_allocated_bytes() == before
    assert shard.tokens.dtype == dtype and np.array_equal(shard.tokens, rows)
    assert (shard.rows, shard.row_length, shard.tokenizer_hash) == (9, LENGTH, HASH)


@pytest.mark.slow
def test_opening_a_shard_imports_no_pandas(tmp_path: Path) -> None:
    """It takes several times as long as opening hundreds of shards, and every rank would wait."""
    write_shard(tmp_path / "s.arrow", make_rows(9), tokenizer_hash=HASH)
    code = (
        "import sys; from pathlib import Path; from gpt2zh.data.shard import Shard;"
        f"Shard(Path({str(tmp_path / 's.arrow')!r})); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_datasets_opens_a_shard(tmp_path: Path, dtype: type) -> None:
    datasets = pytest.importorskip("datasets")
    rows = make_rows(9, dtype=dtype)
    write_shard(tmp_path / "s.arrow", rows, tokenizer_hash=HASH)
    table = datasets.Dataset.from_file(str(tmp_path / "s.arrow"))
    assert np.array_equal(np.array(table["input_ids"]), rows)


@pytest.mark.parametrize("sizes", [(13,), (5, 1, 7)])
def test_gather_returns_rows_of_all_shards_in_the_order_asked_for(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    rows = make_set(tmp_path, sizes)
    shards = ShardSet.open(tmp_path, "train")
    order = np.random.default_rng(1).integers(0, 13, 200)
    assert (shards.rows, shards.row_length) == (13, LENGTH)
    assert np.array_equal(shards.gather(order), rows[order])
    assert shards.gather(np.array([], dtype=np.int64)).shape == (0, LENGTH)


@pytest.mark.parametrize("sizes", [(13,), (5, 1, 7)])
@pytest.mark.parametrize("index", [-1, 13])
def test_row_outside_the_set_is_an_error(
    tmp_path: Path, index: int, sizes: tuple[int, ...]
) -> None:
    make_set(tmp_path, sizes)
    with pytest.raises(IndexError):
        ShardSet.open(tmp_path, "train").gather(np.array([0, index]))


@pytest.mark.parametrize("row_length", [4, 8, 15, 32, 1000])
def test_rows_of_another_length_hold_the_same_streams(tmp_path: Path, row_length: int) -> None:
    """Each shard is a stream of its own, and may end with padding."""
    sizes, padding = (5, 1, 7), (3, 0, 15)
    table = make_set(tmp_path, sizes, padding=padding)
    shards = ShardSet.open(tmp_path, row_length=row_length)
    rows = shards.gather(np.arange(shards.rows))
    assert shards.row_length == rows.shape[1] == row_length
    assert shards.tokens == 13 * LENGTH - 18
    begin = 0
    for block, missing in zip(np.split(table, np.cumsum(sizes)[:-1]), padding, strict=True):
        stream = block.reshape(-1)[: block.size - missing]
        end = begin + -(-len(stream) // row_length)
        flat = rows[begin:end].reshape(-1)
        assert np.array_equal(flat[: len(stream)], stream)
        assert (flat[len(stream) :] == PAD).all()
        begin = end
    assert begin == shards.rows and (rows != PAD).any(1).all()  # no row is padding alone


@pytest.mark.parametrize("row_length", [8, 20, 32, 100])
def test_real_shards_cut_anew_hold_every_document(
    tiny_shards: Path, tmp_path: Path, row_length: int
) -> None:
    """Each unit of the input is a stream of its own with padding at its end."""
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "shards",
            tokenizer=str(tiny_shards / "tokenizer"),
            row_length=16,
            validation_fraction=0.0,
            unit_bytes=500,
            workers=1,
        )
    )
    as_prepared = ShardSet.open(tmp_path / "shards")
    shards = ShardSet.open(tmp_path / "shards", row_length=row_length)
    assert len(shards.shards) > 2
    info = shards.manifest.tokenizer
    documents = [
        [
            ids.tolist()
            for ids in unpack(
                [part.gather(np.arange(part.rows))], eos_id=info.eos_id, pad_id=info.pad_id
            )
        ]
        for part in (as_prepared, shards)
    ]
    assert documents[0] == documents[1] and len(documents[0]) == 20
    rows = shards.gather(np.arange(shards.rows))
    assert (rows[:, 0] != info.pad_id).all()
    assert shards.tokens == as_prepared.tokens == (rows != info.pad_id).sum()


def test_the_rows_of_the_preparation_are_not_cut_anew(tmp_path: Path) -> None:
    table = make_set(tmp_path, (5, 1), padding=(3, 0))
    shards = ShardSet.open(tmp_path, row_length=LENGTH)
    assert np.array_equal(shards.gather(np.arange(6)), table)
    assert shards.fingerprint == shards.manifest.fingerprint == ShardSet.open(tmp_path).fingerprint


def test_a_fingerprint_tells_the_row_length(tmp_path: Path) -> None:
    make_set(tmp_path)
    lengths = (8, LENGTH, 32)
    prints = [ShardSet.open(tmp_path, row_length=length).fingerprint for length in lengths]
    assert len(set(prints)) == 3
    assert prints[0] == ShardSet.open(tmp_path, row_length=8).fingerprint


def test_rows_of_zero_nlp_cannot_be_cut_anew(tmp_path: Path) -> None:
    make_set(tmp_path, packing="zero_nlp")
    assert ShardSet.open(tmp_path, row_length=LENGTH).rows == 13
    told = r"have 16 tokens and, packed by zero_nlp, cannot be cut to 8; use model\.context 16"
    with pytest.raises(UserError, match=told):
        ShardSet.open(tmp_path, row_length=8)


def test_empty_split_has_no_rows(tmp_path: Path) -> None:
    make_set(tmp_path)
    assert ShardSet.open(tmp_path, "validation").rows == 0


def test_unaltered_shards_verify(tmp_path: Path) -> None:
    make_set(tmp_path)
    ShardSet.open(tmp_path, "train").verify()


def test_truncated_shard_is_refused_when_opened(tmp_path: Path) -> None:
    make_set(tmp_path)
    path = tmp_path / "train-00001.arrow"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"train-00001\.arrow is truncated: .*prepare"):
        ShardSet.open(tmp_path, "train")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"train-00001\.arrow cannot be opened"):
        Shard(path)


def test_altered_shard_of_the_same_size_is_found_by_verify(tmp_path: Path) -> None:
    make_set(tmp_path)
    path = tmp_path / "train-00002.arrow"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    shards = ShardSet.open(tmp_path, "train")
    with pytest.raises(UserError, match=r"train-00002\.arrow was altered: its sha256 is"):
        shards.verify()


def test_missing_shard_is_named(tmp_path: Path) -> None:
    make_set(tmp_path)
    (tmp_path / "train-00000.arrow").unlink()
    with pytest.raises(UserError, match=r"train-00000\.arrow is missing"):
        ShardSet.open(tmp_path, "train")


def test_shard_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    make_set(tmp_path)
    write_shard(tmp_path / "train-00001.arrow", make_rows(1, 1), tokenizer_hash="b" * 64)
    with pytest.raises(UserError, match=r"tokenizer bbbbbbbbbbbb, but the manifest says"):
        ShardSet.open(tmp_path, "train")


def test_file_of_another_kind_is_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    path.write_text("no arrow")
    with pytest.raises(UserError, match="cannot be opened"):
        Shard(path)
    table = pa.table({"input_ids": [1, 2]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match="cannot be opened"):
        Shard(path)
    metadata = {"gpt2zh.format": "1", "gpt2zh.row_length": "1", "gpt2zh.tokenizer": HASH}
    with pa.ipc.new_stream(str(path), table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match="cannot be opened"):
        Shard(path)
