"""Find nearly equal documents: MinHash signatures, cut into bands (locality-sensitive hashing).

Two documents are near if one band of their signatures is equal, as in FineWeb and datatrove. With
Jaccard similarity s of their shingles and b bands of r values this happens with probability
1 - (1 - s^r)^b, an S-shaped curve; `band_shape` puts its steep part below the threshold:

| threshold | bands x values | found at 0.5 | 0.6 | 0.7 | 0.75 | 0.8 | 0.85 | 0.9 | 0.95 |
|---|---|---|---|---|---|---|---|---|---|
| 0.5 | 42 x 3 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |
| 0.7 | 21 x 6 | 0.28 | 0.63 | 0.93 | 0.98 | 1.00 | 1.00 | 1.00 | 1.00 |
| 0.8 | 16 x 8 | 0.06 | 0.24 | 0.61 | 0.82 | 0.95 | 0.99 | 1.00 | 1.00 |
| 0.9 | 9 x 14 | 0.00 | 0.01 | 0.06 | 0.15 | 0.33 | 0.62 | 0.90 | 1.00 |

(FineWeb: 14 x 8, 0.77 at 0.75.) One changed character of a text of 300 leaves a similarity of
0.97, of a quatrain of 24 characters with punctuation 0.6: short texts must be equal in nearly
every character. Shapes: `n` documents of one block, `documents` of the whole input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from data_tools.clean.minhash import band_keys, signatures
from data_tools.sources.block import Block
from gpt2zh.config.errors import UserError
from gpt2zh.text.kernels.compiled import compiled

PERMUTATIONS = 128
FOUND = 0.9
"""Share of the pairs at the threshold that must be found."""

_SEED = 1
_DIGEST = "b14750dd0abf30bb"  # of the permutations that datasketch 2.0.0 draws

Bands = Callable[[int], np.ndarray]
"""Takes the number of a band; returns its keys, (documents,) uint64, where 0 means no key."""


def share_found(similarity: float, bands: int, rows: int) -> float:
    """Return the probability that two documents of this similarity share a key."""
    return float(1 - (1 - similarity**rows) ** bands)


def band_shape(threshold: float) -> tuple[int, int]:
    """Return (bands, values per band) of the steepest curve that finds `FOUND` at the threshold."""
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if share_found(threshold, bands, rows) >= FOUND:
            return bands, rows
    raise AssertionError(f"no bands for a threshold of {threshold}")


class Signer:
    """Makes the keys by which near documents are found.

    They depend only on text and threshold: not on the machine, the process or library versions.
    """

    bands: int
    """Keys per document, 8 bytes each."""

    def __init__(self, threshold: float) -> None:
        """Prepare for the smallest similarity of near documents, 0.5 to 1.

        Raises:
            UserError: The installed datasketch draws other permutations than version 2.0.0.
        """
        self.bands, self._rows = band_shape(threshold)
        self._factors, self._summands = _permutations()

    def __call__(self, block: Block, chosen: np.ndarray) -> np.ndarray:
        """Return the keys of the chosen documents.

        Args:
            block: n documents.
            chosen: (n,) bool.

        Returns:
            (n, bands) uint64, one key per band; 0 for documents that are not chosen or hold only
            white space.
        """
        rows = np.flatnonzero(chosen)
        smallest, shingles = signatures(
            block.data, block.begins[rows], block.ends[rows], self._factors, self._summands
        )
        keys = np.zeros((len(block), self.bands), np.uint64)
        keys[rows] = band_keys(smallest, shingles, self.bands, self._rows)
        return keys


def find_near_copies(bands: Bands, documents: int, count: int, dropped: np.ndarray) -> np.ndarray:
    """Find the documents that nearly equal an earlier one.

    Documents that share a key, directly or through a chain of others, are one cluster. The first
    of a cluster stays. It takes about 40 bytes of memory per document, for any `count`.

    Args:
        bands: Returns the keys of one band.
        documents: Documents of the whole input, in its order.
        count: Number of bands.
        dropped: (documents,) bool, documents that are ignored.

    Returns:
        (documents,) bool: in a cluster, and not the first of it.
    """
    parents = np.arange(documents)
    taking_part = ~dropped
    for band in range(count):
        keys = bands(band)
        rows = np.flatnonzero(taking_part & (keys != 0))
        keys = keys[rows]
        _join_equal(keys, rows, np.argsort(keys, kind="stable"), parents)
    return parents != np.arange(documents)  # only the first of a cluster is its own parent


def find_leaks(
    bands: Bands, documents: int, count: int, dropped: np.ndarray, is_validation: np.ndarray
) -> np.ndarray:
    """Find the held-out documents that share a key with a training document.

    Args:
        bands: Returns the keys of one band.
        documents: Documents of the whole input, in its order.
        count: Number of bands.
        dropped: (documents,) bool, documents that are ignored.
        is_validation: (documents,) bool, which are held out.

    Returns:
        (documents,) bool.
    """
    leaking = np.zeros(documents, bool)
    held_out = np.flatnonzero(is_validation & ~dropped)
    training = ~is_validation & ~dropped
    for band in range(count):
        keys = bands(band)
        held_keys, training_keys = keys[held_out], keys[training]
        wanted = np.unique(held_keys[held_keys != 0])  # only these few are sorted
        if len(wanted):
            places = np.minimum(np.searchsorted(wanted, training_keys), len(wanted) - 1)
            met = np.zeros(len(wanted), bool)
            met[places[wanted[places] == training_keys]] = True
            leaking[held_out] |= np.isin(held_keys, wanted[met])
    return leaking


def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Return the factors and summands of datasketch, each (PERMUTATIONS,) uint32."""
    import datasketch

    sketch = datasketch.MinHash(PERMUTATIONS, seed=_SEED, scheme="affine32")
    pair = np.ascontiguousarray(sketch.permutations, dtype="<u4")
    if hashlib.sha256(pair.tobytes()).hexdigest()[:16] != _DIGEST:
        raise UserError(
            f"datasketch {datasketch.__version__} draws other permutations than 2.0.0, so its "
            "keys cannot be compared with those of earlier preparations; run "
            "pip install datasketch==2.0.0"
        )
    return pair[0], pair[1]


@compiled
def _join_equal(keys: np.ndarray, rows: np.ndarray, order: np.ndarray, parents: np.ndarray) -> None:
    """Join the clusters of documents with equal keys.

    Args:
        keys: (k,) uint64.
        rows: (k,) int64, the documents of these keys, rising.
        order: (k,) int64, sorts the keys.
        parents: (documents,) int64, changed in place: an earlier document of the same cluster, or
            the document itself when it is the first.
    """
    for place in range(1, len(order)):
        before, here = order[place - 1], order[place]
        if keys[before] != keys[here]:
            continue
        one, other = _first_of(parents, rows[before]), _first_of(parents, rows[here])
        parents[max(one, other)] = min(one, other)


@compiled
def _first_of(parents: np.ndarray, document: int) -> int:
    while parents[document] != document:
        parents[document] = parents[parents[document]]  # halves the path for the next search
        document = parents[document]
    return document
