"""Which documents are held out: a pure function of their text."""

from __future__ import annotations

import hashlib

HASH_NAME = "blake2b-64"


def document_hash(data: bytes) -> int:
    """Hash the UTF-8 of a document to 64 bits."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def is_validation(data: bytes, fraction: float) -> bool:
    """Tell whether a document is held out; `fraction` of all documents are.

    It depends on neither the machine nor the order of files, and equal texts stay together, so
    that no training text is also a validation text.
    """
    return document_hash(data) < fraction * 2**64
