"""The walk through the rows: a pure function of seed and position."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2zh.data.order import rank_share, rows_at, stream_seed


def walk(count: int, *, rows: int, seed: int = 1) -> list[int]:
    return rows_at(0, count, rows=rows, seed=seed).tolist()


# A run that is resumed after an update must find the order it began with: if these numbers change,
# every checkpoint before the change continues with other rows.
GOLDEN = {
    1: [5, 4, 7, 1, 0, 2, 6, 3, 8, 10, 9, 3, 0, 10, 7, 8, 2, 5, 6, 9, 1, 4],
    7: [3, 5, 6, 10, 9, 7, 4, 1, 8, 2, 0, 10, 3, 2, 7, 1, 5, 4, 0, 8, 9, 6],
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_the_order_never_changes(seed: int) -> None:
    assert walk(22, rows=11, seed=seed) == GOLDEN[seed]


def test_the_order_of_a_large_data_set_never_changes() -> None:
    found = rows_at(5_000_000, 8, rows=1_000_000, seed=1)
    assert found.tolist() == [808480, 672259, 90127, 724001, 478241, 393928, 857835, 872915]
    assert found.dtype == np.int64


MASK = 2**64 - 1


def splitmix(x: int) -> int:
    """The published finaliser in plain integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


@pytest.mark.parametrize("rows", [1, 2, 8191, 8192, 8193, 20_000])
@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (2**64 - 1, 3)])
def test_the_order_is_that_of_the_hashed_row_numbers(rows: int, seed: int, epoch: int) -> None:
    golden = 0x9E3779B97F4A7C15
    start = splitmix(splitmix((seed + golden) & MASK) ^ epoch)
    expected = sorted(range(rows), key=lambda row: splitmix((start + (row + 1) * golden) & MASK))
    assert rows_at(epoch * rows, rows, rows=rows, seed=seed).tolist() == expected


def test_streams_have_their_own_seeds_and_the_first_that_of_the_run() -> None:
    seeds = [stream_seed(seed, stream) for seed in range(50) for stream in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert [stream_seed(7, 0), stream_seed(2**64 - 1, 0)] == [7, 2**64 - 1]
    assert stream_seed(1, 1) == 16051188185124956539  # never changes, like the order


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63])
def test_every_epoch_reads_every_row_once(rows: int, seed: int) -> None:
    for epoch in range(4):
        found = rows_at(epoch * rows, rows, rows=rows, seed=seed)
        assert sorted(found.tolist()) == list(range(rows))


def test_epochs_and_seeds_have_their_own_order() -> None:
    epochs = [tuple(rows_at(e * 100, 100, rows=100, seed=s)) for s in range(5) for e in range(20)]
    assert len(set(epochs)) == len(epochs)
    # Independent permutations of 100 agree in 1 place on average.
    agreements = [
        int((np.array(a) == np.array(b)).sum()) for a in epochs[:30] for b in epochs[:30] if a != b
    ]
    assert 0.8 < np.mean(agreements) < 1.2 and max(agreements) < 10


def test_the_order_looks_random() -> None:
    found = rows_at(0, 10_000, rows=10_000, seed=1)
    assert abs(np.corrcoef(found, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.05
    assert (np.diff(found) == 1).sum() < 10


@pytest.mark.parametrize("rows", [3, 11, 24])
def test_a_position_anywhere_continues_the_walk(rows: int) -> None:
    whole = walk(8 * rows, rows=rows)
    for position in range(4 * rows):
        for count in (0, 1, 5, rows, 2 * rows + 1) if position else (1, 5, rows):
            if count:
                found = rows_at(position, count, rows=rows, seed=1).tolist()
                assert found == whole[position : position + count], (position, count)


def test_a_batch_may_span_several_epochs() -> None:
    assert walk(50, rows=11)[:22] == GOLDEN[1]
    assert len(walk(50, rows=11)) == 50


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_ranks_only_split_the_global_batch(ranks: int) -> None:
    """The same rows in the same order, whatever the ranks; no sorting hides a difference."""
    rows, batch = 31, 24
    for step in range(6):
        numbers = rows_at(step * batch, batch, rows=rows, seed=3)
        shares = [rank_share(numbers, rank=rank, ranks=ranks) for rank in range(ranks)]
        assert {len(share) for share in shares} == {batch // ranks}
        expected = walk(6 * batch, rows=rows, seed=3)[step * batch : (step + 1) * batch]
        assert np.concatenate(shares).tolist() == expected
