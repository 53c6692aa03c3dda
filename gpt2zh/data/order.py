"""Which rows are read, and in what order: pure arithmetic, no files, no processes.

An epoch's order follows from (seed, epoch) alone. Training is a walk through the epochs, one
after the other; its position is one integer, the rows consumed. A step takes the next
`global_batch` rows (the last step of an epoch reaches into the next one, so that no row is left
out), and ranks only split that batch: the same rows are read on any number of ranks.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def rows_at(position: int, count: int, *, rows: int, seed: int) -> np.ndarray:
    """The row numbers of `count` consecutive places in the walk, shape (count,), int64.

    Args:
        position: Rows consumed before, over all epochs and ranks.
        count: Rows wanted.
        rows: Rows of the data set; at least 1.
        seed: Seed of the order.
    """
    pieces = []
    while count > 0:
        epoch, offset = divmod(position, rows)
        piece = _epoch_order(rows, seed, epoch)[offset : offset + count]
        pieces.append(piece)
        position += len(piece)
        count -= len(piece)
    return np.concatenate(pieces)


def rank_share(batch: np.ndarray, *, rank: int, ranks: int) -> np.ndarray:
    """This rank's consecutive part of a global batch whose length `ranks` divides."""
    share = len(batch) // ranks
    return batch[rank * share : (rank + 1) * share]


@lru_cache(maxsize=2)  # a batch may touch the end of one epoch and the start of the next
def _epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of all rows, shape (rows,), int64.

    Sorting hashed row numbers, and not numpy's generator, whose streams may change between its
    versions (numpy NEP 19): a run must find the same order after an upgrade.
    """
    with np.errstate(over="ignore"):
        start = _mix(_mix(np.uint64(seed) + _GOLDEN) ^ np.uint64(epoch))
        keys = _mix(start + np.arange(1, rows + 1, dtype=np.uint64) * _GOLDEN)
    return np.argsort(keys, kind="stable")


def _mix(x: np.ndarray | np.uint64) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64-bit integers."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
