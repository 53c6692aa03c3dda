"""Convert between numpy and Arrow without a copy, and without pandas."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def arrow_column(values: np.ndarray) -> pa.Array:
    """Return numbers, (n,), as an Arrow column without a copy; booleans are packed into bits.

    `pa.array` would import pandas, which takes longer than small work does.
    """
    is_bool = values.dtype == np.bool_
    data = np.packbits(values, bitorder="little") if is_bool else np.ascontiguousarray(values)
    kind = pa.bool_() if is_bool else pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])


def numpy_column(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return the values of a column without nulls, (n,); `to_numpy` would import pandas."""
    if isinstance(column, pa.ChunkedArray):
        return np.concatenate([numpy_column(chunk) for chunk in column.chunks] or [np.empty(0)])
    data = column.buffers()[1]
    begin, end = column.offset, column.offset + len(column)
    if pa.types.is_boolean(column.type):
        bits = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        return np.unpackbits(bits, count=end, bitorder="little")[begin:].astype(np.bool_)
    return np.frombuffer(data or b"", column.type.to_pandas_dtype())[begin:end]
