"""Several corpora in one walk: exact shares, each corpus in its own order, any position at once."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from gpt2zh.data.mixture import CYCLE, Mixture, apportion, deal
from gpt2zh.data.order import rows_at, stream_seed

SIZES, SHARES = (31, 7, 101), (0.5, 0.2, 0.3)


def mixture(seed: int = 1) -> Mixture:
    return Mixture(SIZES, shares=SHARES, seed=seed)


def split(numbers: np.ndarray) -> list[list[int]]:
    """Row numbers by corpus, each counted from the beginning of its corpus."""
    begins = np.cumsum([0, *SIZES])
    return [
        (numbers[(numbers >= a) & (numbers < b)] - a).tolist()
        for a, b in itertools.pairwise(begins)
    ]


@pytest.mark.parametrize("rows", [1, 11, 5000])
@pytest.mark.parametrize("position", [0, 3, 4999, CYCLE - 2, 7 * CYCLE + 5])
def test_one_corpus_is_walked_as_without_a_mixture(rows: int, position: int) -> None:
    alone = Mixture([rows], shares=[0.3], seed=7)
    assert np.array_equal(alone.at(position, 300), rows_at(position, 300, rows=rows, seed=7))
    assert alone.counts_before(position).tolist() == [position]


# A run that is resumed after an update must find the mixture it began with.
# The numbers were computed in plain integers and fractions, by dealing one slot after the other.
GOLDEN = {
    0: [19, 93, 35, 20, 79, 5, 4, 33, 47, 7, 24, 42, 37, 18, 130, 1],
    3 * CYCLE - 4: [12, 37, 58, 29, 2, 75, 35, 5],
}


@pytest.mark.parametrize("position", GOLDEN)
def test_the_mixture_never_changes(position: int) -> None:
    assert mixture().at(position, len(GOLDEN[position])).tolist() == GOLDEN[position]


@pytest.mark.parametrize("position", [0, 1, 17, 1000, CYCLE - 3, 5 * CYCLE + 12_345])
def test_any_position_continues_the_walk(position: int) -> None:
    walk, start = mixture(), max(0, position - 20)
    whole = walk.at(start, 120)
    for count in (1, 2, 50, 100):
        assert np.array_equal(
            walk.at(position, count), whole[position - start : position - start + count]
        )


def test_each_corpus_goes_through_its_own_epochs() -> None:
    found = split(mixture(seed=5).at(0, 2000))
    for number, (rows, mine) in enumerate(zip(SIZES, found, strict=True)):
        assert mine == rows_at(0, len(mine), rows=rows, seed=stream_seed(5, number)).tolist()
        for epoch in range(len(mine) // rows):
            assert sorted(mine[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_equal_corpora_do_not_run_in_step() -> None:
    both = Mixture([100, 100], shares=[1, 1], seed=1).at(0, 200)
    first, second = both[both < 100], both[both >= 100] - 100
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first == second).sum() < 10


@pytest.mark.parametrize("shares", [SHARES, (1, 1), (3, 1), (5, 3, 2, 1e-9), tuple(range(1, 30))])
def test_shares_hold_at_every_position(shares: tuple[float, ...]) -> None:
    """Never more than half a row per corpus away, and exact to a millionth in the long run."""
    owners, turns = deal(apportion(shares))
    part = np.array(shares) / sum(shares)
    counts = (owners[:, None] == np.arange(len(shares))).cumsum(0)  # after each slot
    away = np.abs(counts - np.arange(1, CYCLE + 1)[:, None] * part)
    assert (away.max(0) <= 0.5 + part * len(shares) / 2 + 1).all()
    assert (counts[-1] >= 1).all() and (np.abs(counts[-1] - CYCLE * part) <= len(shares)).all()
    assert (turns == counts[np.arange(CYCLE), owners] - 1).all()


@pytest.mark.parametrize("position", [0, 1, 999, CYCLE, 2 * CYCLE + 777])
def test_counts_and_epochs_are_those_of_the_walk(position: int) -> None:
    walk = mixture()
    before, after = walk.counts_before(position), walk.counts_before(position + 500)
    met = [len(mine) for mine in split(walk.at(position, 500))]
    assert (after - before).tolist() == met and before.sum() == position
    assert walk.epochs(position) == (before / SIZES).tolist()


def test_a_short_stretch_is_mixed_already() -> None:
    owners = deal(apportion((0.5, 0.25, 0.25)))[0]
    assert all(Counter(owners[i : i + 4].tolist())[0] == 2 for i in range(0, 400, 4))


@pytest.mark.parametrize(
    ("shares", "slots"),
    [
        ((1,), [CYCLE]),
        ((2, 2), [CYCLE // 2] * 2),
        ((1, 1, 1), [349526, 349525, 349525]),
        ((1, 1e-12, 1e-12), [CYCLE - 2, 1, 1]),
        ((3e6, 20), [1048569, 7]),
    ],
)
def test_slots_are_dealt_by_largest_remainders_and_nobody_gets_none(
    shares: tuple[float, ...], slots: list[int]
) -> None:
    assert apportion(shares).tolist() == slots
