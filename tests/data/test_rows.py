"""Rows in blocks: numbered through, gathered in any order, cut anew to any length."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2zh.data.rows import Rows, cut

PAD = 0


@pytest.mark.parametrize("sizes", [(7,), (3, 1, 0, 5), (1,) * 9])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_gathering_equals_indexing_the_joined_blocks(sizes: tuple[int, ...], dtype: type) -> None:
    table = np.arange(4 * sum(sizes), dtype=dtype).reshape(-1, 4)
    rows = Rows(np.split(table, np.cumsum(sizes)[:-1]), row_length=4)
    order = np.random.default_rng(0).integers(0, len(table), 50)
    found = rows.gather(order)
    assert rows.rows == len(table) and found.dtype == dtype
    assert np.array_equal(found, table[order])
    found[:] = 0  # a copy: the file stays what it is
    assert np.array_equal(rows.gather(order), table[order])


def test_no_blocks_are_no_rows() -> None:
    rows = Rows([], row_length=4)
    assert rows.rows == 0 and rows.gather(np.array([], np.int64)).shape == (0, 4)


def test_a_block_of_another_row_length_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        Rows([np.zeros((2, 4), np.uint16), np.zeros((2, 5), np.uint16)], row_length=4)


@pytest.mark.parametrize("row_length", [2, 7, 16, 32, 100])
@pytest.mark.parametrize("used", [0, 1, 15, 16, 17, 63, 64])
def test_a_stream_is_cut_without_losing_a_token(row_length: int, used: int) -> None:
    stream = np.arange(1, 65, dtype=np.uint16)
    stream[used:] = PAD
    blocks = cut(stream, row_length, used=used, pad_id=PAD)
    rows = np.concatenate([*blocks, np.empty((0, row_length), np.uint16)])
    flat = rows.reshape(-1)
    assert flat[:used].tolist() == list(range(1, used + 1))
    assert (flat[used:] == PAD).all() and len(flat) - used < row_length
    assert len(rows) == -(-used // row_length)
    full = used // row_length
    assert not full or np.shares_memory(blocks[0], stream)  # a mapped file is not read for it


class File:
    """A mapped file that counts how often it was checked."""

    def __init__(self) -> None:
        self.checks = 0

    def check(self) -> None:
        self.checks += 1


def test_only_the_files_that_are_read_are_checked() -> None:
    files = [File(), File(), File()]
    blocks = [np.zeros((2, 4), np.uint16)] * 4
    rows = Rows(blocks, row_length=4, files=[files[0], files[1], None, files[2]])  # type: ignore[list-item]
    rows.gather(np.array([0, 1, 0, 4, 7]))
    assert [file.checks for file in files] == [1, 0, 1]
    one = File()
    Rows(blocks[:1], row_length=4, files=[one]).gather(np.array([1]))  # type: ignore[list-item]
    assert one.checks == 1
