"""A hash chain of the row numbers that the weights have seen.

Every step hashes the row numbers of all ranks, in the order of the global batch, onto the hash
before it. Two runs with equal chains have read the same rows in the same order, whatever their
ranks and restarts were; and whoever has the data can compute the chain again.
"""

from __future__ import annotations

import hashlib

import numpy as np

START = "0" * 64
"""The chain before the first step, in hexadecimal digits."""


def extend(chain: str, rows: np.ndarray) -> str:
    """Hash the rows of one more step onto a chain.

    Args:
        chain: The chain so far, 64 hexadecimal digits.
        rows: Row numbers of the step over all ranks, (global batch,), in the order of the walk.

    Returns:
        sha256 of the chain's 32 bytes and the row numbers as little-endian 64-bit integers, in
        hexadecimal digits.
    """
    return hashlib.sha256(bytes.fromhex(chain) + rows.astype("<i8").tobytes()).hexdigest()
