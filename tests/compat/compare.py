"""Compare the answers of two programs: numbers within a tolerance, all else exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CLOSE = 1e-4
"""Largest difference of logits and losses: other kernels round differently in fp32."""


@dataclass(frozen=True)
class Finding:
    """One comparison."""

    what: str
    equal: bool
    detail: str


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Finding]:
    """Compare each of our answers with theirs; one that is missing differs."""
    return [_compare(what, value, theirs.get(what)) for what, value in ours.items()]


def compare_logits(ours: np.ndarray, theirs: np.ndarray) -> Finding:
    """Compare logits, (T, V) each."""
    if ours.shape != theirs.shape:
        return Finding("logits", False, f"shapes {ours.shape} and {theirs.shape}")
    largest = float(np.abs(ours - theirs).max())
    return Finding("logits", largest <= CLOSE, f"difference {largest:.1e}")


def compare_numbers(what: str, ours: float, theirs: float) -> Finding:
    """Compare two numbers."""
    return Finding(what, abs(ours - theirs) <= CLOSE, f"{ours:.4f} and {theirs:.4f}")


def _compare(what: str, ours: Any, theirs: Any) -> Finding:
    is_numbers = isinstance(ours, list) and bool(ours) and isinstance(ours[0], float)
    if is_numbers and isinstance(theirs, list) and len(ours) == len(theirs):
        largest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        return Finding(what, largest <= CLOSE, f"difference {largest:.1e}")
    if ours == theirs:
        return Finding(what, True, "equal")
    return Finding(what, False, f"{str(ours)[:60]} and {str(theirs)[:60]}")
