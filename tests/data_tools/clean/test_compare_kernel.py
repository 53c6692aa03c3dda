"""The compiled parts of comparing candidates."""

from __future__ import annotations

import numpy as np

from data_tools.clean.compare_kernel import (
    MOST_COMPARED,
    MOST_LISTED,
    Batch,
    compare_batch,
    estimate,
    jaccard,
)


def make_batch(count: int) -> Batch:
    """Return documents of one key, equal by their signatures and of unknown text."""
    return Batch(
        signed=np.zeros((count, 128), np.uint8),
        groups=np.zeros((count, 1), np.int64),
        data=np.zeros(0, np.uint8),
        begins=np.full(count, -1),
        ends=np.full(count, -1),
        listed=np.ones(count, bool),
        tested=np.ones(count, bool),
    )


def test_equal_ones_go_for_the_first() -> None:
    like, similarity, estimated = compare_batch(make_batch(4), 0.8, 0.7, False)
    assert like.tolist() == [-1, 0, 0, 0] and estimated.tolist() == [False, True, True, True]
    assert similarity.tolist() == [0, 1, 1, 1]


def test_a_key_that_very_many_share_is_remembered_for_some_of_them() -> None:
    """The first and the last are equal; all others are nothing like them."""
    for between, expected in ((MOST_LISTED - 1, 0), (MOST_LISTED, 0)):
        batch = make_batch(between + 2)
        batch.signed[1:-1] = np.random.default_rng(0).integers(1, 256, (between, 128))
        like, _, _ = compare_batch(batch, 0.8, 0.7, False)
        assert like[-1] == expected and (like[:-1] == -1).all()


def test_only_the_most_similar_are_compared_and_the_first_of_equal_ones_comes_first() -> None:
    count = MOST_COMPARED + 5
    batch = make_batch(count + 1)
    batch.tested[:-1] = False
    for number in range(count):
        batch.signed[number, number:] = 1  # the later the more similar
    like, _, _ = compare_batch(batch, 0.0, 0.0, False)
    assert like.tolist() == [-1] * count + [count - 1]
    batch.signed[:] = 0
    assert compare_batch(batch, 0.8, 0.7, False)[0][-1] == 0


def test_one_document_drops_all_listed_ones_that_are_near_it() -> None:
    count = 3 * MOST_COMPARED + 5
    batch = make_batch(count + 1)
    batch.tested[:-1], batch.listed[-1] = False, False
    batch.signed[:count:4, :40] = 1  # a quarter of them is not near
    like, similarity, _ = compare_batch(batch, 0.8, 0.0, True)
    is_near = np.arange(count) % 4 != 0
    assert (like[:-1] == np.where(is_near, count, -1)).all() and like[-1] == -1
    assert (similarity[:-1] == is_near).all()


def test_far_ones_that_are_most_similar_by_estimate_do_not_hide_more_near_ones() -> None:
    """Their texts differ, and one near text among each eight keeps the search going."""
    rng = np.random.default_rng(0)
    text, *others = (rng.integers(97, 123, 300).astype(np.uint8) for _ in range(8))
    texts = [*others, text] * 3 + [text]
    ends = np.cumsum([*map(len, texts)])
    batch = make_batch(len(texts))._replace(
        data=np.concatenate(texts), begins=ends - 300, ends=ends
    )
    batch.tested[:-1], batch.listed[-1] = False, False
    like, _, _ = compare_batch(batch, 0.8, 0.7, True)
    assert np.flatnonzero(like >= 0).tolist() == [7, 15, 23]


def test_the_estimate_reckons_with_bytes_that_are_equal_by_chance() -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, 1 << 16)).astype(np.uint8)
    assert estimate(one, other) < 0.002 and estimate(one, one) == 1.0
    half = np.where(np.arange(1 << 16) % 2, one, other)
    assert abs(estimate(one, half) - 0.5) < 0.01


def test_jaccard_of_two_sets() -> None:
    def of(one: list[int], other: list[int]) -> float:
        return jaccard(np.array(one, np.uint64), np.array(other, np.uint64))

    assert of([1, 2, 3, 4], [2, 3, 4, 5]) == 3 / 5 and of([1], [1]) == 1
    assert of([], []) == of([1], []) == of([1, 3], [2, 4]) == 0
