"""Rows from documents: nothing lost under `full`, the seed's rule under `zero_nlp`."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gpt2zh.data.packing import FullPacker, Packer, ZeroNlpPacker, unpack

EOS, PAD, CLS, SEP = 1, 2, 3, 4
UINT16 = np.dtype(np.uint16)


def full(row_length: int = 8, dtype: np.dtype = UINT16) -> FullPacker:
    return FullPacker(row_length, pad_id=PAD, dtype=dtype)


def zero_nlp(row_length: int = 8) -> ZeroNlpPacker:
    return ZeroNlpPacker(row_length, cls_id=CLS, sep_id=SEP, dtype=UINT16)


def random_documents(seed: int, longest: int = 40) -> list[list[int]]:
    rng = random.Random(seed)
    lengths = [rng.choice([0, 1, 6, 7, 8, rng.randrange(longest)]) for _ in range(60)]
    return [[rng.randrange(5, 60_000) for _ in range(length)] for length in lengths]


def pack(packer: Packer, documents: list[list[int]], portion: int) -> np.ndarray:
    """Pack in portions, each document closed by eos under full packing, and join all rows."""
    closing = [EOS] if isinstance(packer, FullPacker) else []
    closed = [[*ids, *closing] for ids in documents]
    dtype = np.uint32 if any(i > 65535 for ids in documents for i in ids) else np.uint16
    blocks = []
    for begin in range(0, len(closed), portion):
        part = closed[begin : begin + portion]
        ids = np.array([i for document in part for i in document], dtype)
        blocks.append(packer.add(ids, np.array([len(document) for document in part])))
    return np.concatenate([*blocks, packer.finish()])


@pytest.mark.parametrize("portion", [1, 3, 60])
@pytest.mark.parametrize("row_length", [8, 13, 512])
def test_unpacking_gives_every_document_back(row_length: int, portion: int) -> None:
    for seed in range(20):
        documents = random_documents(seed)
        rows = pack(full(row_length), documents, portion)
        found = [ids.tolist() for ids in unpack(np.array_split(rows, 3), eos_id=EOS, pad_id=PAD)]
        assert found == documents


def test_every_token_is_in_exactly_one_row_and_only_the_last_is_padded() -> None:
    documents = random_documents(1)
    packer = full(8)
    rows = pack(packer, documents, 7)
    expected = [number for ids in documents for number in [*ids, EOS]]
    assert rows.size == len(expected) + packer.padding and packer.padding < 8
    assert rows.reshape(-1)[: len(expected)].tolist() == expected
    assert not (rows[:-1] == PAD).any() and (rows == PAD).sum() == packer.padding
    assert packer.dropped_tokens == packer.dropped_documents == 0


def test_exactly_full_last_row_needs_no_padding() -> None:
    packer = full(8)
    rows = pack(packer, [[9] * 7, [9] * 15], 1)
    assert rows.shape == (3, 8) and packer.padding == 0


def test_no_document_gives_no_row() -> None:
    assert pack(full(8), [], 1).shape == (0, 8)


def test_large_ids_keep_their_value_in_32_bits() -> None:
    rows = pack(full(8, np.dtype(np.uint32)), [[70_000, 100_000]], 1)
    assert rows.dtype == np.uint32 and rows[0, :3].tolist() == [70_000, 100_000, EOS]


@pytest.mark.parametrize("portion", [1, 60])
def test_zero_nlp_keeps_what_the_naive_rule_keeps(portion: int) -> None:
    for seed in range(20):
        documents = random_documents(seed)
        packer = zero_nlp(8)
        rows = pack(packer, documents, portion)
        kept, dropped, lost = naive_zero_nlp(documents, 8)
        assert rows.tolist() == kept
        assert (packer.dropped_tokens, packer.dropped_documents) == (dropped, lost)


def naive_zero_nlp(documents: list[list[int]], row_length: int):
    """Chunk as truncation with overflowing tokens does, and keep chunks of full length."""
    kept, dropped, lost = [], 0, 0
    for ids in documents:
        chunks = [ids[i : i + row_length - 2] for i in range(0, len(ids), row_length - 2)]
        rows = [[CLS, *chunk, SEP] for chunk in chunks]
        kept += [row for row in rows if len(row) == row_length]
        dropped += sum(len(row) - 2 for row in rows if len(row) != row_length)
        lost += not any(len(row) == row_length for row in rows)
    return kept, dropped, lost
