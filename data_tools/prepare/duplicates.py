"""Which documents repeat an earlier one, decided over the whole input in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

_AT_ONCE = 1 << 24  # hashes sorted at once: 16 bytes each with their places, and as much to sort


def repeated(hashes: Callable[[], Iterable[np.ndarray]], documents: int) -> np.ndarray:
    """Tell which documents have the hash of an earlier one, (documents,) bool.

    Memory is bounded: the hashes are gone through once for each range of them that fits. Of 16
    million different documents (15 GB) two share a 64-bit hash with a probability of 7e-6.

    Args:
        hashes: Gives the hashes of all documents in order, in arrays of uint64, at each call.
        documents: How many there are.
    """
    copies = np.zeros(documents, bool)
    ranges = -(-documents // _AT_ONCE)
    for number in range(ranges):
        low = np.uint64(number * 2**64 // ranges)
        high = np.uint64((number + 1) * 2**64 // ranges - 1)
        found: list[np.ndarray] = []
        places: list[np.ndarray] = []
        begin = 0
        for some in hashes():
            inside = np.flatnonzero((some >= low) & (some <= high))
            found.append(some[inside])
            places.append(inside + begin)
            begin += len(some)
        keys, where = np.concatenate(found), np.concatenate(places)
        order = np.argsort(keys, kind="stable")  # equal hashes stay in the order of the input
        keys, where = keys[order], where[order]
        copies[where[1:][keys[1:] == keys[:-1]]] = True
    return copies
