"""Columns between numpy and Arrow: equal values, no copy of numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gpt2zh.data.arrow import arrow_column, numpy_column


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int64, np.float32])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_values_come_back_equal(dtype: type, count: int) -> None:
    values = np.random.default_rng(count).integers(0, 2, count).astype(dtype)
    column = arrow_column(values)
    assert column.to_pylist() == values.tolist()
    back = numpy_column(column)
    assert back.dtype == dtype and back.tolist() == values.tolist()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint32])
def test_a_slice_begins_where_it_should(dtype: type) -> None:
    values = np.random.default_rng(1).integers(0, 2, 40).astype(dtype)
    for begin in (0, 3, 8, 39, 40):
        assert numpy_column(arrow_column(values)[begin:]).tolist() == values[begin:].tolist()


def test_chunks_are_joined_in_order() -> None:
    chunks = [np.array([1, 2], np.int64), np.array([], np.int64), np.array([3], np.int64)]
    column = pa.chunked_array([arrow_column(chunk) for chunk in chunks])
    assert numpy_column(column).tolist() == [1, 2, 3]
    assert numpy_column(pa.chunked_array([], pa.int64())).tolist() == []


def test_numbers_are_not_copied() -> None:
    values = np.arange(10)
    column = arrow_column(values)
    assert np.shares_memory(numpy_column(column), values)
    assert arrow_column(values[::2]).to_pylist() == [0, 2, 4, 6, 8]  # only what is not contiguous
