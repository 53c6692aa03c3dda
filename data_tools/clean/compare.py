"""Compare the candidates of near duplicates before any is dropped.

A document is compared with the staying documents that share a key with it: by their signatures
first, whose share of equal values estimates the Jaccard similarity to 0.035, then by all shingles
of both texts. Only a similarity at or above the threshold counts. So in a chain A, B, C, where B is
near A and C near B alone, A stays, B is dropped for A, and C stays, since B is not there.

Shapes: `documents` of the whole input, `m` of one batch of clusters, `p` values of a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from data_tools.clean.minhash import band_keys, shingle_hashes
from data_tools.clean.near import PERMUTATIONS, Keys, band_shape, find_clusters
from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays

MOST_LISTED = 1000
"""Staying documents that are remembered for a key; a boilerplate may give one to a million."""
MOST_COMPARED = 16
"""Texts, the most similar by their signatures, with which one text is compared."""

_BATCH = 1 << 18  # documents of whole clusters that are compared at once
_SURE = 3.5  # standard deviations below the threshold at which a signature is not near

Texts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A buffer of UTF-8, (s,) uint8, and begins and ends in it, (m,) int64; an end of -1 means that the
text is not known."""


@dataclass(frozen=True)
class Corpus:
    """Where the documents of the whole input are."""

    keys: Keys
    signatures: Callable[[np.ndarray], np.ndarray]
    """Takes rising numbers of documents, (m,); returns (m, p) uint8."""
    texts: Callable[[np.ndarray], Texts]
    """Takes rising numbers of documents, (m,)."""


@dataclass(frozen=True)
class Roles:
    """Who is compared with whom; each is (documents,) bool."""

    listed: np.ndarray
    """Others are compared with these, as long as they stay."""
    tested: np.ndarray
    """These are compared with the listed ones before them in the input; with all listed ones if
    these are dropped."""
    drops_listed: bool = False
    """Drop the listed document of a near pair, else the tested one."""


@dataclass(frozen=True)
class NearPairs:
    """The dropped documents, rising, each with the document for which it was dropped."""

    dropped: np.ndarray
    """(k,) int64"""
    like: np.ndarray
    """(k,) int64"""
    similarity: np.ndarray
    """(k,) float32, Jaccard of their shingles."""
    is_estimate: np.ndarray
    """(k,) bool: from the signatures, since one of the texts is not known."""


def find_near(corpus: Corpus, threshold: float, roles: Roles) -> NearPairs:
    """Return the documents to drop.

    Memory grows with the texts of the largest cluster, which the caller may map from a disk.

    Args:
        corpus: The documents.
        threshold: Smallest similarity of near documents, 0.5 to 1.
        roles: Who is compared with whom.
    """
    bands, rows = band_shape(threshold)
    others = roles.tested if (roles.tested & ~roles.listed).any() else None
    clusters = find_clusters(corpus.keys, bands, roles.listed, others)
    found: list[list[np.ndarray]] = [[], [], [], []]
    for documents in _batches(clusters):
        signed = corpus.signatures(documents)
        order = np.arange(len(documents))
        if roles.drops_listed:  # listed ones first
            order = np.argsort(~roles.listed[documents], kind="stable")
        groups = _groups(signed, bands, rows)[order]
        data, begins, ends = corpus.texts(documents)
        documents = documents[order]
        like, similarity, estimated = _compare(
            signed[order],
            groups,
            data,
            np.stack((begins[order], ends[order])),
            np.stack((roles.listed[documents], roles.tested[documents])),
            np.array([threshold, _least(threshold)]),
            roles.drops_listed,
        )
        hit = np.flatnonzero(like >= 0)
        for values, more in zip(
            found,
            (documents[hit], documents[like[hit]], similarity[hit], estimated[hit]),
            strict=True,
        ):
            values.append(more)
    dropped, like, similarity, estimated = (
        np.concatenate([*values, np.empty(0, kind)])
        for values, kind in zip(found, (np.int64, np.int64, np.float32, np.bool_), strict=True)
    )
    order = np.argsort(dropped)
    return NearPairs(dropped[order], like[order], similarity[order], estimated[order])


def _batches(clusters: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the documents of clusters of two and more, rising; a cluster is in one batch."""
    sizes = np.bincount(clusters, minlength=len(clusters))
    firsts = np.flatnonzero(sizes > 1)
    number = np.cumsum(sizes[firsts]) // _BATCH  # of the batch of each cluster
    batch = np.full(len(clusters), -1)
    batch[firsts] = number
    batch = batch[clusters]
    for one in np.unique(number):
        yield np.flatnonzero(batch == one)


def _groups(signed: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """Number the different keys of all bands together, (m, bands) int64."""
    groups = np.empty((len(signed), bands), np.int64)
    begin = 0
    for band in range(bands):
        _, numbers = np.unique(band_keys(signed, band, rows), return_inverse=True)
        groups[:, band] = numbers.reshape(-1) + begin
        begin += int(numbers.max(initial=-1)) + 1
    return groups


def _least(threshold: float) -> float:
    """Return the smallest estimate for which texts are worth comparing."""
    return threshold - _SURE * sqrt(threshold * (1 - threshold) / PERMUTATIONS)


@compiled_with_arrays
def _compare(
    signed: np.ndarray,
    groups: np.ndarray,
    data: np.ndarray,
    spans: np.ndarray,
    roles: np.ndarray,
    bounds: np.ndarray,
    drops_listed: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the documents of a batch in their order.

    Args:
        signed: (m, p) uint8.
        groups: (m, bands) int64; equal numbers are equal keys.
        data: (s,) uint8, UTF-8.
        spans: (2, m) int64, where texts begin and end; -1 at the end if a text is not known.
        roles: (2, m) bool: listed, tested.
        bounds: (2,) float64: smallest similarity, and smallest estimate to look at.
        drops_listed: See `Roles`.

    Returns:
        For each document the number in the batch of the one it was dropped for, or -1, (m,) int64;
        their similarity, (m,) float32; and whether that is an estimate, (m,) bool.
    """
    count, bands = groups.shape
    like = np.full(count, -1, np.int64)
    similarity = np.zeros(count, np.float32)
    estimated = np.zeros(count, np.bool_)
    heads = np.full(groups.max() + 1 if count else 0, -1, np.int64)
    sizes = np.zeros(len(heads), np.int64)
    following = np.full((count, bands), -1, np.int64)
    seen = np.full(count, -1, np.int64)
    best = np.full(MOST_COMPARED, -1, np.int64)
    shares = np.zeros(MOST_COMPARED)
    for here in range(count):
        if roles[1, here]:
            found = _most_similar(here, signed, groups, heads, following, seen, like, best, shares)
            own = np.empty(0, np.uint64)
            for place in range(found):
                other, near = best[place], shares[place]
                if near < bounds[1]:
                    break
                guessed = spans[1, here] < 0 or spans[1, other] < 0
                if not guessed:
                    if not len(own):
                        own = shingle_hashes(data, spans[0, here], spans[1, here])
                    theirs = shingle_hashes(data, spans[0, other], spans[1, other])
                    near = jaccard(own, theirs)
                if near >= bounds[0]:
                    one, two = (other, here) if drops_listed else (here, other)
                    like[one], similarity[one], estimated[one] = two, near, guessed
                    if not drops_listed:
                        break
        if roles[0, here] and like[here] < 0:
            for band in range(bands):
                group = groups[here, band]
                if sizes[group] < MOST_LISTED:
                    following[here, band] = heads[group]
                    heads[group] = here
                    sizes[group] += 1
    return like, similarity, estimated


@compiled
def _most_similar(
    here: int,
    signed: np.ndarray,
    groups: np.ndarray,
    heads: np.ndarray,
    following: np.ndarray,
    seen: np.ndarray,
    like: np.ndarray,
    best: np.ndarray,
    shares: np.ndarray,
) -> int:
    """Fill `best` and `shares` with the listed documents most like one, and return how many.

    The most similar comes first; of equal ones the first of the input.
    """
    found = 0
    for band in range(groups.shape[1]):
        other = heads[groups[here, band]]
        while other >= 0:
            if seen[other] != here and like[other] < 0:
                seen[other] = here
                share = estimate(signed[here], signed[other])
                place = found
                while place > 0 and (
                    shares[place - 1] < share
                    or (shares[place - 1] == share and best[place - 1] > other)
                ):
                    place -= 1
                if place < len(best):
                    found = min(found + 1, len(best))
                    for back in range(found - 1, place, -1):
                        best[back], shares[back] = best[back - 1], shares[back - 1]
                    best[place], shares[place] = other, share
            other = following[other, band]
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
