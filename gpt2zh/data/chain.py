"""A hash chain of the row numbers that the weights were trained on.

Every step hashes the previous hash together with the row numbers of all ranks, in the order of the
global batch. Two runs with equal chains have read the same rows in the same order, on any number of
ranks and with any number of restarts. The chain can be computed again from the data.
"""

from __future__ import annotations

import hashlib

import numpy as np

START = "0" * 64
"""The chain before the first step, in hexadecimal digits."""


def extend(chain: str, rows: np.ndarray) -> str:
    """Return the chain after one more step.

    Args:
        chain: The chain so far, 64 hexadecimal digits.
        rows: Row numbers of the step over all ranks, (global batch,), in the order of reading.

    Returns:
        sha256 of the chain's 32 bytes and the row numbers as little-endian 64-bit integers, in
        hexadecimal digits.
    """
    return hashlib.sha256(bytes.fromhex(chain) + rows.astype("<i8").tobytes()).hexdigest()
