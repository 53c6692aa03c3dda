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

from data_tools.clean.compare_kernel import MOST_LISTED, Batch, compare_batch
from data_tools.clean.minhash import band_keys
from data_tools.clean.near import PERMUTATIONS, Keys, band_shape, find_clusters

_BATCH = 1 << 18  # documents of whole clusters that are compared at once
_SURE = 2.5  # standard deviations below the threshold; 6 of 1000 pairs at it have a lower estimate

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
        batch = Batch(
            signed=signed[order],
            groups=groups,
            data=data,
            begins=begins[order],
            ends=ends[order],
            listed=roles.listed[documents],
            tested=roles.tested[documents],
        )
        like, similarity, estimated = _compare(batch, threshold, drops_listed=roles.drops_listed)
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


def _compare(
    batch: Batch, threshold: float, *, drops_listed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the documents of a batch; see `compare_batch`.

    If more listed documents share a key than are remembered for it, those that are dropped make
    room for others, so it starts again without them until it drops none.
    """
    least, listed = _least(threshold), batch.listed
    found = compare_batch(batch, threshold, least, drops_listed)
    while drops_listed and _most_of_a_key(batch.groups[listed]) > MOST_LISTED:
        listed = batch.listed & (found[0] < 0)
        more = compare_batch(batch._replace(listed=listed), threshold, least, drops_listed)
        hit = more[0] >= 0
        if not hit.any():
            break
        for values, new in zip(found, more, strict=True):
            values[hit] = new[hit]
    return found


def _most_of_a_key(groups: np.ndarray) -> int:
    """Return how many documents share the most frequent key, of (n, bands) keys."""
    return int(np.bincount(groups.reshape(-1)).max(initial=0))


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
