"""The order in which rows are read: pure arithmetic, no files, no processes.

The order of an epoch follows from (seed, epoch) alone, and epochs follow one another. So the
position in the data is one integer, the rows consumed; a checkpoint saves nothing else about the
data. A step takes the next `global_batch` rows (the last step of an epoch continues into the next
epoch, so no row is left out), and ranks only divide that batch: the same rows are read on any
number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_INVERSES = tuple(np.uint64(pow(int(factor), -1, 2**64)) for factor in (_GOLDEN, *_FACTORS))
_BLOCK = 1 << 13  # numbers hashed at once; they and their copies stay in the CPU's cache


def rows_at(position: int, count: int, *, rows: int, seed: int) -> np.ndarray:
    """Return the row numbers of `count` consecutive positions, (count,), int64.

    Args:
        position: Rows consumed before, over all epochs and ranks.
        count: Rows wanted.
        rows: Rows of the data set; at least 1.
        seed: Seed of the order.
    """
    order = _orders(rows, seed)
    pieces = []
    while count > 0:
        epoch, offset = divmod(position, rows)
        piece = order(epoch)[offset : offset + count]
        pieces.append(piece)
        position += len(piece)
        count -= len(piece)
    return np.concatenate(pieces)


def rank_share(batch: np.ndarray, *, rank: int, ranks: int) -> np.ndarray:
    """Return this rank's consecutive part of a global batch; `ranks` must divide its length."""
    share = len(batch) // ranks
    return batch[rank * share : (rank + 1) * share]


def stream_seed(seed: int, stream: int) -> int:
    """Return the seed of one of several independent streams; stream 0 has `seed` itself."""
    if stream == 0:
        return seed
    with np.errstate(over="ignore"):
        return int(_mix(_mix(np.uint64(seed) + _GOLDEN) + np.uint64(stream)))


@cache  # one entry a data set; each keeps the two orders that a batch at an epoch's end needs
def _orders(rows: int, seed: int) -> Callable[[int], np.ndarray]:
    return lru_cache(maxsize=2)(partial(_epoch_order, rows, seed))


def _epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of all rows, (rows,), int64: row numbers in the order of their hashes.

    Not by numpy's generator, whose streams may change between versions (numpy NEP 19): a run must
    find the same order after an upgrade. The hash is a bijection, so row numbers can be computed
    back from sorted hashes; numpy's sort is much faster than its argsort.
    """
    with np.errstate(over="ignore"):
        start = _mix(_mix(np.uint64(seed) + _GOLDEN) ^ np.uint64(epoch))
        order = np.arange(1, rows + 1, dtype=np.uint64)
        for begin in range(0, rows, _BLOCK):
            block = order[begin : begin + _BLOCK]
            block[:] = _mix(start + block * _GOLDEN)
        order.sort()
        for begin in range(0, rows, _BLOCK):
            block = order[begin : begin + _BLOCK]
            block[:] = (_unmix(block) - start) * _INVERSES[0] - np.uint64(1)
    return order.view(np.int64)


def _mix(x: np.ndarray | np.uint64) -> np.ndarray:
    """Hash by the finalizer of splitmix64 (Steele, Lea, Flood 2014), a bijection of 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * _FACTORS[0]
    x = (x ^ (x >> np.uint64(27))) * _FACTORS[1]
    return np.asarray(x ^ (x >> np.uint64(31)))


def _unmix(x: np.ndarray) -> np.ndarray:
    """Invert `_mix`."""
    x = (x ^ (x >> np.uint64(31)) ^ (x >> np.uint64(62))) * _INVERSES[2]
    x = (x ^ (x >> np.uint64(27)) ^ (x >> np.uint64(54))) * _INVERSES[1]
    return x ^ (x >> np.uint64(30)) ^ (x >> np.uint64(60))
