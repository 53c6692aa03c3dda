"""Hash documents, and choose those that are held out: a pure function of their text."""

from __future__ import annotations

import numpy as np
import xxhash

HASH_NAME = "xxh3-64"


def document_hash(data: bytes) -> int:
    """Hash the UTF-8 of a document to 64 bits."""
    return xxhash.xxh3_64_intdigest(data)


def document_hashes(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hash documents that are spans of a buffer, (n,) uint64; see `document_hash`."""
    view = np.ascontiguousarray(data).data
    digest = xxhash.xxh3_64_intdigest
    spans = zip(begins.tolist(), ends.tolist(), strict=True)
    return np.fromiter((digest(view[begin:end]) for begin, end in spans), np.uint64, len(begins))


def held_out(hashes: np.ndarray, fraction: float) -> np.ndarray:
    """Return which documents are held out, (n,) bool: about `fraction` of all documents.

    The choice depends neither on the machine nor on the order of files. Equal texts stay together,
    so that no training text is also a validation text.
    """
    return hashes < np.uint64(fraction * 2**64)
