"""Copies among documents: found over the whole input, the first one stays."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.prepare import duplicates
from data_tools.prepare.duplicates import repeated


def naive(hashes: list[int]) -> list[bool]:
    seen: set[int] = set()
    copies = []
    for value in hashes:
        copies.append(value in seen)
        seen.add(value)
    return copies


@pytest.mark.parametrize("at_once", [1 << 24, 100, 7])
def test_all_but_the_first_of_equal_hashes_are_copies(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(duplicates, "_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, 400, np.uint64)
    values[:3] = (0, 2**64 - 1, 2**63)  # the ends of every range
    hashes = rng.choice(values, 1000)
    found = repeated(lambda: np.array_split(hashes, 9), len(hashes))
    assert found.tolist() == naive(hashes.tolist()) and 0 < found.sum() < 1000


def test_no_document_has_no_copy() -> None:
    assert repeated(lambda: [np.empty(0, np.uint64)], 0).tolist() == []
