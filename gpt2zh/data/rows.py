"""Rows of many blocks under one numbering: how the shard files of all corpora are read.

Shapes: `T` tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gpt2zh.data.mapped_file import MappedFile


class Rows:
    """The rows of several blocks, numbered from 0 across all blocks."""

    def __init__(
        self,
        blocks: Sequence[np.ndarray],
        *,
        row_length: int,
        files: Sequence[MappedFile | None] = (),
    ) -> None:
        """Join blocks without a copy.

        Args:
            blocks: Token ids, (rows, row_length) each, all of one type.
            row_length: Tokens of a row; needed where there are no blocks.
            files: The file of each block, which is checked before its rows are read; None for a
                block in memory. Without any nothing is checked.
        """
        self.files = tuple(files) or (None,) * len(blocks)
        assert len(self.files) == len(blocks), (len(self.files), len(blocks))
        assert all(block.shape[1] == row_length for block in blocks), row_length
        self.blocks = tuple(blocks)
        self.row_length = row_length
        # Block i holds the rows from _starts[i] up to _starts[i + 1].
        self._starts = np.cumsum([0, *map(len, blocks)])
        self.rows = int(self._starts[-1])

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows with these numbers, in the given order.

        Args:
            indices: Row numbers, (n,), each from 0 to `rows` - 1.

        Returns:
            A new array of token ids, (n, T).

        Raises:
            IndexError: A number is out of range.
            UserError: A file was changed since it was mapped.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.rows:
            raise IndexError(
                f"row {indices.min()} or {indices.max()} is outside 0..{self.rows - 1}"
            )
        if len(self.blocks) == 1:
            self._check_files([0])
            return self.blocks[0][indices]
        dtype = self.blocks[0].dtype if self.blocks else np.uint16
        out = np.empty((len(indices), self.row_length), dtype)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        places = indices - self._starts[owners]
        self._check_files(set(owners.tolist()))
        # Copy row by row: a step takes few rows from each of many blocks, and indexing a block by
        # an array costs more than that.
        for i, (owner, place) in enumerate(zip(owners.tolist(), places.tolist(), strict=True)):
            out[i] = self.blocks[owner][place]
        return out

    def _check_files(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            if (file := self.files[block]) is not None:
                file.check()


def cut(tokens: np.ndarray, row_length: int, *, used: int, pad_id: int) -> list[np.ndarray]:
    """Cut a stream of tokens into rows of any length, without a copy of the full ones.

    Args:
        tokens: Token ids, (n,).
        row_length: Tokens of a row.
        used: Tokens of the stream; the rest is padding.
        pad_id: Id of padding, which fills the last row.

    Returns:
        Blocks of rows, (rows, row_length) each, none of them empty. Together they hold the whole
        stream, and no row is padding alone.
    """
    full = used // row_length
    rest = tokens[full * row_length : used]
    blocks = [tokens[: full * row_length].reshape(full, row_length)] if full else []
    if len(rest):
        last = np.full((1, row_length), pad_id, tokens.dtype)
        last[0, : len(rest)] = rest
        blocks.append(last)
    return blocks
