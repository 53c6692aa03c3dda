"""The file format: written once, mapped without a copy, refused when it is not what was written."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import (
    MANIFEST,
    Count,
    Extent,
    Manifest,
    ShardEntry,
    Source,
    Split,
    SplitRule,
    TokenizerInfo,
    read_manifest,
    write_manifest,
)
from gpt2zh.data.packing import unpack
from gpt2zh.data.shard import Shard, ShardSet, token_dtype, write_shard

LENGTH = 16
HASH = "a" * 64
PAD = 2


def make_rows(rows: int, seed: int = 0, dtype: type = np.uint16) -> np.ndarray:
    top = 65_000 if dtype is np.uint16 else 200_000
    return np.random.default_rng(seed).integers(PAD + 1, top, (rows, LENGTH)).astype(dtype)


def make_set(
    folder: Path,
    sizes: tuple[int, ...] = (5, 1, 7),
    dtype: type = np.uint16,
    *,
    padding: tuple[int, ...] = (),
    packing: str = "full",
):
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
    entries: tuple[ShardEntry, ...], padding: int = 0, packing: str = "full"
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
        tokenizer=TokenizerInfo(name="t", hash=HASH, vocab_size=9, bos_id=0, eos_id=1, pad_id=2),
        row_length=LENGTH,
        packing=packing,
        split_rule=SplitRule(hash="blake2b-64", validation_fraction=0.1),
        splits={"train": split, "validation": empty},
        sources=(source,),
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_rows_come_back_equal_and_uncopied(tmp_path: Path, dtype: type) -> None:
    rows = make_rows(9, dtype=dtype)
    write_shard(tmp_path / "s.arrow", rows, tokenizer_hash=HASH)
    before = pa.total_allocated_bytes()
    shard = Shard(tmp_path / "s.arrow")
    assert pa.total_allocated_bytes() == before
    assert shard.tokens.dtype == dtype and np.array_equal(shard.tokens, rows)
    assert (shard.rows, shard.row_length, shard.tokenizer_hash) == (9, LENGTH, HASH)


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


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_535, np.uint16), (65_536, np.uint32), (2**32, np.uint32)]
)
def test_smallest_type_is_chosen(vocab_size: int, dtype: type) -> None:
    assert token_dtype(vocab_size) == dtype


def test_vocabulary_beyond_32_bits_is_refused() -> None:
    with pytest.raises(UserError, match=r"4294967297 ids.*32 bits"):
        token_dtype(2**32 + 1)


def test_manifest_comes_back_equal(tmp_path: Path) -> None:
    manifest = make_manifest((ShardEntry(file="f", rows=1, bytes=2, sha256="c"),))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_fingerprint_follows_the_rows_and_not_the_names() -> None:
    entry = ShardEntry(file="f", rows=1, bytes=2, sha256="c")
    renamed = ShardEntry(file="g", rows=1, bytes=2, sha256="c")
    other = ShardEntry(file="f", rows=1, bytes=2, sha256="d")
    print_of = [make_manifest((e,)).fingerprint for e in (entry, renamed, other)]
    assert print_of[0] == print_of[1] != print_of[2]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.update(format=99), "format 99"),
        (lambda table: table.pop("splits"), "is damaged"),
        (lambda table: table.update(row_length=17), "was altered: its fingerprint"),
        (lambda table: table["tokenizer"].update(extra=1), "is damaged"),
    ],
)
def test_damaged_manifest_is_refused(tmp_path: Path, damage, words: str) -> None:
    make_set(tmp_path)
    table = json.loads((tmp_path / MANIFEST).read_text("utf-8"))
    damage(table)
    (tmp_path / MANIFEST).write_text(json.dumps(table), "utf-8")
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path)


def test_folder_without_manifest_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest\.json.*data_tools prepare"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        ShardSet.open(tmp_path / "nowhere", "train")
