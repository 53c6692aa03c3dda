"""Numbered rows in many blocks: what shard files of one or several corpora are to a reader.

Shapes: `T` tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Rows:
    """The rows of several blocks, numbered through from 0."""

    def __init__(self, blocks: Sequence[np.ndarray], *, row_length: int) -> None:
        """Join blocks without a copy.

        Args:
            blocks: Token ids, (rows, row_length) each, all of one type.
            row_length: Tokens of a row, which no block would tell if there are none.
        """
        assert all(block.shape[1] == row_length for block in blocks), row_length
        self.blocks = tuple(blocks)
        self.row_length = row_length
        # Block i holds the rows from _starts[i] up to _starts[i + 1].
        self._starts = np.cumsum([0, *map(len, blocks)])
        self.rows = int(self._starts[-1])

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows of these numbers, in their order.

        Args:
            indices: Row numbers, (n,), each from 0 up to `rows`.

        Returns:
            A new array of token ids, (n, T).
        """
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.rows:
            raise IndexError(
                f"row {indices.min()} or {indices.max()} is outside 0..{self.rows - 1}"
            )
        if len(self.blocks) == 1:
            return self.blocks[0][indices]
        dtype = self.blocks[0].dtype if self.blocks else np.uint16
        out = np.empty((len(indices), self.row_length), dtype)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        places = indices - self._starts[owners]
        # Row by row: a step takes few rows of each of many blocks, and indexing a block by an
        # array costs more than copying its rows.
        for i, (owner, place) in enumerate(zip(owners.tolist(), places.tolist(), strict=True)):
            out[i] = self.blocks[owner][place]
        return out


def cut(tokens: np.ndarray, row_length: int, *, used: int, pad_id: int) -> list[np.ndarray]:
    """Cut a stream of tokens into rows of any length, without a copy of the full ones.

    Args:
        tokens: Token ids, (n,).
        row_length: Tokens of a row.
        used: Tokens of the stream; what follows is padding.
        pad_id: Fills the last row.

    Returns:
        Blocks of rows, (rows, row_length) each, none of them empty: together all of the stream and
        no row of padding alone.
    """
    full = used // row_length
    rest = tokens[full * row_length : used]
    blocks = [tokens[: full * row_length].reshape(full, row_length)] if full else []
    if len(rest):
        last = np.full((1, row_length), pad_id, tokens.dtype)
        last[0, : len(rest)] = rest
        blocks.append(last)
    return blocks
