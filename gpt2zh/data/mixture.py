"""Mix several corpora into one order: which corpus the next row comes from, and which of its rows.

The corpora take turns in a fixed cycle of 2^20 slots. So the rows read before any position follow
by arithmetic, and the position in a mixture is one integer, as in a single corpus. Each corpus goes
through its own epochs in its own order.

Shapes: `K` corpora.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpt2zh.data.order import rows_at, stream_seed

CYCLE = 1 << 20
"""Slots, each of one row; the finest share that a corpus can have."""


class Mixture:
    """The order of the rows of one or several corpora, whose rows are numbered consecutively.

    One corpus alone has the order of `rows_at`.
    """

    def __init__(self, rows: Sequence[int], *, shares: Sequence[float], seed: int) -> None:
        """Assign the slots of the cycle to the corpora.

        Args:
            rows: Rows of each corpus, at least 1.
            shares: Relative number of rows read from each corpus; above 0.
            seed: Seed of the order.
        """
        self.rows = sum(rows)
        """Rows of all corpora."""
        self.slots = apportion(shares)
        """Slots of each corpus in a cycle, (K,)."""
        self._sizes = tuple(rows)
        self._begins = np.cumsum([0, *rows])  # of each corpus in the joint numbering
        self._seeds = [stream_seed(seed, number) for number in range(len(rows))]
        self._owners, self._turns = deal(self.slots)

    def at(self, position: int, count: int) -> np.ndarray:
        """Return the row numbers of `count` consecutive positions, (count,), int64.

        Args:
            position: Rows consumed before, over all corpora, epochs and ranks.
            count: Rows wanted.
        """
        cycles, slots = np.divmod(np.arange(position, position + count), CYCLE)
        owners = self._owners[slots]
        numbers = np.empty(count, np.int64)
        for corpus in np.unique(owners).tolist():
            mine = np.flatnonzero(owners == corpus)
            first = int(cycles[mine[0]] * self.slots[corpus] + self._turns[slots[mine[0]]])
            seed = self._seeds[corpus]
            walk = rows_at(first, len(mine), rows=self._sizes[corpus], seed=seed)
            numbers[mine] = self._begins[corpus] + walk
        return numbers

    def epochs(self, position: int) -> list[float]:
        """Return how often each corpus was read after `position` rows."""
        counts = self.counts_before(position).tolist()
        return [count / rows for count, rows in zip(counts, self._sizes, strict=True)]

    def counts_before(self, position: int) -> np.ndarray:
        """Return how many of the first `position` rows come from each corpus, (K,), int64."""
        cycles, slots = divmod(position, CYCLE)
        return cycles * self.slots + np.bincount(self._owners[:slots], minlength=len(self.slots))


def apportion(shares: Sequence[float]) -> np.ndarray:
    """Return the slots of each corpus in a cycle, (K,), int64.

    The method of largest remainders, with at least one slot for each.
    """
    quotas = np.array(shares) / math.fsum(shares) * CYCLE
    slots = np.maximum(np.floor(quotas).astype(np.int64), 1)
    while (left := CYCLE - int(slots.sum())) > 0:
        slots[np.argmax(quotas - slots)] += 1
    if left < 0:  # the smallest got more than their share
        slots[np.argmax(slots)] += left
    return slots


def deal(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread the slots of every corpus evenly over the cycle.

    Slot number j of the n slots of a corpus is due at the time (2 j + 1) / 2 n of the cycle. This
    gives the order of the divisor method of Sainte-Lague, where the next slot goes to the corpus
    that is furthest behind. Equal fractions are equal floats, so the order is the same on every
    machine; at equal times the first corpus comes first.

    Returns:
        For each slot of the cycle, (CYCLE,): the number of its corpus, and how many slots of that
        corpus come before it.
    """
    turns = [np.arange(count) for count in slots.tolist()]
    times = [(2 * mine + 1) / len(mine) for mine in turns]
    order = np.argsort(np.concatenate(times), kind="stable")
    owners = np.repeat(np.arange(len(slots)), slots)
    return owners[order], np.concatenate(turns)[order]
