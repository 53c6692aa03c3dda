"""Compiled comparison of the candidates of near duplicates; see `compare`.

Shapes: `m` documents of one batch of clusters, `p` values of a signature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_tools.clean.minhash import shingle_hashes
from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays

MOST_LISTED = 1000
"""Staying documents that are remembered for a key; a boilerplate may give one to a million."""
MOST_COMPARED = 8
"""Texts, the most similar by their signatures, with which one text is compared at once."""


class Batch(NamedTuple):
    """Documents in the order in which they are compared."""

    signed: np.ndarray
    """(m, p) uint8."""
    groups: np.ndarray
    """(m, bands) int64; equal numbers are equal keys."""
    data: np.ndarray
    """(s,) uint8, UTF-8."""
    begins: np.ndarray
    """(m,) int64."""
    ends: np.ndarray
    """(m,) int64; -1 if a text is not known."""
    listed: np.ndarray
    """(m,) bool; see `compare.Roles`."""
    tested: np.ndarray
    """(m,) bool."""


class Lists(NamedTuple):
    """The listed documents of each key, as chains from the last one to the first."""

    heads: np.ndarray
    """(groups,) int64, the last document of each, or -1."""
    sizes: np.ndarray
    """(groups,) int64."""
    following: np.ndarray
    """(m, bands) int64, the document before in the chain of each band, or -1."""
    seen: np.ndarray
    """(m,) int64, the mark of the last search that met each."""


class Best(NamedTuple):
    """The documents most like one, the most similar first; of equal ones the first in order."""

    numbers: np.ndarray
    """(MOST_COMPARED,) int64."""
    shares: np.ndarray
    """(MOST_COMPARED,) float64, estimated similarities."""


class Result(NamedTuple):
    """What `compare_batch` returns."""

    like: np.ndarray
    """(m,) int64."""
    similarity: np.ndarray
    """(m,) float32."""
    estimated: np.ndarray
    """(m,) bool."""


class Limits(NamedTuple):
    """See `compare_batch`."""

    threshold: float
    least: float
    drops_listed: bool


class Search(NamedTuple):
    """One search for documents like one; it goes on behind what the one before found."""

    mark: int
    """Differs for each search."""
    share: float
    """Estimated similarity of the last one that was found before."""
    number: int
    """Number of that one."""


@compiled_with_arrays
def compare_batch(
    batch: Batch, threshold: float, least: float, drops_listed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the documents of a batch in their order.

    Args:
        batch: The documents.
        threshold: Smallest similarity of near documents.
        least: Smallest estimate for which texts are compared.
        drops_listed: See `compare.Roles`.

    Returns:
        For each document the number in the batch of the one it was dropped for, or -1, (m,) int64;
        their similarity, (m,) float32; and whether that is an estimate, (m,) bool.
    """
    count, bands = batch.groups.shape
    groups = batch.groups.max() + 1 if count else 0
    result = Result(
        np.full(count, -1, np.int64), np.zeros(count, np.float32), np.zeros(count, np.bool_)
    )
    lists = Lists(
        np.full(groups, -1, np.int64),
        np.zeros(groups, np.int64),
        np.full((count, bands), -1, np.int64),
        np.full(count, -1, np.int64),
    )
    best = Best(np.empty(MOST_COMPARED, np.int64), np.empty(MOST_COMPARED))
    limits = Limits(threshold, least, drops_listed)
    for here in range(count):
        if batch.tested[here]:
            _test(here, batch, lists, best, result, limits)
        if batch.listed[here] and result.like[here] < 0:
            _list(here, batch.groups[here], lists)
    return result.like, result.similarity, result.estimated


@compiled_with_arrays
def _test(
    here: int, batch: Batch, lists: Lists, best: Best, result: Result, limits: Limits
) -> None:
    """Compare one document with the listed ones most like it.

    Where listed ones are dropped, it goes on with the next ones while any of them are near or seem
    so.
    """
    search = Search(here, np.inf, -1)
    found = _find_most_similar(here, batch, lists, best, result.like, search)
    near = _compare(here, found, batch, best, result, limits)
    while limits.drops_listed and found == MOST_COMPARED:
        if not near and best.shares[found - 1] < limits.threshold:
            break
        search = Search(
            search.mark + len(batch.ends), best.shares[found - 1], best.numbers[found - 1]
        )
        found = _find_most_similar(here, batch, lists, best, result.like, search)
        near = _compare(here, found, batch, best, result, limits)


@compiled_with_arrays
def _compare(
    here: int, found: int, batch: Batch, best: Best, result: Result, limits: Limits
) -> int:
    """Compare one document with the `found` best ones; return how many are near."""
    near = 0
    own = np.empty(0, np.uint64)
    for place in range(found):
        other, share = best.numbers[place], best.shares[place]
        if share < limits.least or (result.like[here] >= 0 and not limits.drops_listed):
            break
        guessed = batch.ends[here] < 0 or batch.ends[other] < 0
        if not guessed:
            if not len(own):
                own = shingle_hashes(batch.data, batch.begins[here], batch.ends[here])
            theirs = shingle_hashes(batch.data, batch.begins[other], batch.ends[other])
            share = jaccard(own, theirs)
        if share >= limits.threshold:
            near += 1
            one, two = (other, here) if limits.drops_listed else (here, other)
            result.like[one], result.similarity[one] = two, share
            result.estimated[one] = guessed
    return near


@compiled
def _list(here: int, groups: np.ndarray, lists: Lists) -> None:
    """Add a document to the chains of its keys."""
    for band in range(len(groups)):
        group = groups[band]
        if lists.sizes[group] < MOST_LISTED:
            lists.following[here, band] = lists.heads[group]
            lists.heads[group] = here
            lists.sizes[group] += 1


@compiled
def _find_most_similar(
    here: int, batch: Batch, lists: Lists, best: Best, like: np.ndarray, search: Search
) -> int:
    """Fill `best` with the listed documents that stay and are most like one; return how many."""
    found = 0
    for band in range(batch.groups.shape[1]):
        other = lists.heads[batch.groups[here, band]]
        while other >= 0:
            if lists.seen[other] != search.mark and like[other] < 0:
                lists.seen[other] = search.mark
                share = estimate(batch.signed[here], batch.signed[other])
                if share < search.share or (share == search.share and other > search.number):
                    found = _insert(best, found, other, share)
            other = lists.following[other, band]
    return found


@compiled
def _insert(best: Best, found: int, number: int, share: float) -> int:
    """Put a document in its place among the `found` best ones; return how many there are now."""
    place = found
    while place > 0 and (
        best.shares[place - 1] < share
        or (best.shares[place - 1] == share and best.numbers[place - 1] > number)
    ):
        place -= 1
    if place == MOST_COMPARED:
        return found
    found = min(found + 1, MOST_COMPARED)
    for back in range(found - 1, place, -1):
        best.numbers[back], best.shares[back] = best.numbers[back - 1], best.shares[back - 1]
    best.numbers[place], best.shares[place] = number, share
    return found


@compiled
def estimate(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity that two signatures suggest, each (p,) uint8."""
    equal = 0
    for place in range(len(one)):
        equal += one[place] == other[place]
    return max(0.0, (equal / len(one) - 1 / 256) / (1 - 1 / 256))  # bytes that are equal by chance


@compiled
def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets of rising hashes; 0 if both are empty."""
    a = b = shared = 0
    while a < len(one) and b < len(other):
        if one[a] == other[b]:
            shared += 1
            a += 1
            b += 1
        elif one[a] < other[b]:
            a += 1
        else:
            b += 1
    return shared / max(len(one) + len(other) - shared, 1)
