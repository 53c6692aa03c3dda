"""Find nearly equal documents: MinHash signatures, cut into bands (locality-sensitive hashing).

Two documents are candidates if one band of their signatures is equal, as in FineWeb and datatrove.
With Jaccard similarity s of their shingles and b bands of r values this happens with probability
1 - (1 - s^r)^b, an S-shaped curve; `band_shape` puts its steep part below the threshold:

| threshold | bands x values | found at 0.5 | 0.6 | 0.7 | 0.75 | 0.8 | 0.85 | 0.9 | 0.95 |
|---|---|---|---|---|---|---|---|---|---|
| 0.5 | 42 x 3 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |
| 0.7 | 21 x 6 | 0.28 | 0.63 | 0.93 | 0.98 | 1.00 | 1.00 | 1.00 | 1.00 |
| 0.8 | 16 x 8 | 0.06 | 0.24 | 0.61 | 0.82 | 0.95 | 0.99 | 1.00 | 1.00 |
| 0.9 | 9 x 14 | 0.00 | 0.01 | 0.06 | 0.15 | 0.33 | 0.62 | 0.90 | 1.00 |

(FineWeb: 14 x 8, 0.77 at 0.75.) The curve is not a verdict: of the pairs at 0.7 more than half are
candidates at a threshold of 0.8. `compare` looks at each candidate, and only those at or above the
threshold are near.

One changed character of a text of 300 leaves a similarity of 0.97, of a quatrain of 24 characters
with punctuation 0.6: short texts must be equal in nearly every character. Shapes: `n` documents of
one block, `documents` of the whole input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from data_tools.clean.minhash import compact, signatures
from data_tools.sources.block import Block
from gpt2zh.config.errors import UserError
from gpt2zh.text.kernels.compiled import compiled

PERMUTATIONS = 128
"""Values of a signature, one byte each."""
FOUND = 0.9
"""Share of the pairs at the threshold that must be found."""

_SEED = 1
_DIGEST = "b14750dd0abf30bb"  # of the permutations that datasketch 2.0.0 draws

Keys = Callable[[int], np.ndarray]
"""Takes the number of a band; returns the key of each document, (documents,) uint64."""


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
    """Makes the signatures by which near documents are found and compared.

    They depend only on the text: not on the machine, the process or library versions.
    """

    def __init__(self) -> None:
        """Get the permutations.

        Raises:
            UserError: The installed datasketch draws other permutations than version 2.0.0.
        """
        self._factors, self._summands = _permutations()

    def __call__(self, block: Block, chosen: np.ndarray) -> np.ndarray:
        """Return the signatures of the k chosen documents, (k, PERMUTATIONS) uint8.

        Args:
            block: n documents.
            chosen: (n,) bool; each has a character that is not white space.
        """
        smallest, _ = signatures(
            block.data, block.begins[chosen], block.ends[chosen], self._factors, self._summands
        )
        return compact(smallest)


def find_clusters(
    keys: Keys, bands: int, asked: np.ndarray, others: np.ndarray | None = None
) -> np.ndarray:
    """Join documents that share a key, directly or through a chain of others.

    It takes about 40 bytes of memory per document, for any number of bands.

    Args:
        keys: Returns the keys of one band.
        bands: Number of bands.
        asked: (documents,) bool, the documents whose candidates are looked for.
        others: (documents,) bool, documents that matter only as candidates of the asked ones; None
            if the asked ones are each other's candidates.

    Returns:
        (documents,) int64: the first document of the cluster of each.
    """
    parents = np.arange(len(asked))
    for band in range(bands):
        found = keys(band)
        rows = np.flatnonzero(asked if others is None else asked | others)
        if others is not None:
            wanted = np.unique(found[asked])  # only these few are sorted
            if not len(wanted):
                return parents
            places = np.minimum(np.searchsorted(wanted, found[rows]), len(wanted) - 1)
            rows = rows[wanted[places] == found[rows]]
        found = found[rows]
        _join_equal(found, rows, np.argsort(found, kind="stable"), parents)
    _flatten(parents)
    return parents


def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Return the factors and summands of datasketch, each (PERMUTATIONS,) uint32."""
    import datasketch

    sketch = datasketch.MinHash(PERMUTATIONS, seed=_SEED, scheme="affine32")
    pair = np.ascontiguousarray(sketch.permutations, dtype="<u4")
    if hashlib.sha256(pair.tobytes()).hexdigest()[:16] != _DIGEST:
        raise UserError(
            f"datasketch {datasketch.__version__} draws other permutations than 2.0.0, so its "
            "signatures cannot be compared with those of earlier preparations; run "
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
def _flatten(parents: np.ndarray) -> None:
    for document in range(len(parents)):
        parents[document] = _first_of(parents, document)


@compiled
def _first_of(parents: np.ndarray, document: int) -> int:
    while parents[document] != document:
        parents[document] = parents[parents[document]]  # halves the path for the next search
        document = parents[document]
    return document
