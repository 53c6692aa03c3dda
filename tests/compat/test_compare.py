"""`make compat` finds every kind of difference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compat.compare import compare, compare_logits, compare_numbers


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        ([1, 2], [1, 2], True),
        ([1, 2], [1, 3], False),
        ([1.0, 2.0], [1.0, 2.00001], True),
        ([1.0, 2.0], [1.0, 2.001], False),
        ([1.0], [1.0, 2.0], False),
        ("山", "水", False),
        ([[1], [2]], None, False),
    ],
)
def test_answers_are_compared(ours: object, theirs: object, equal: bool) -> None:
    (found,) = compare({"a": ours}, {"a": theirs})
    assert found.equal is equal and found.what == "a"


def test_an_answer_that_is_missing_differs() -> None:
    assert [finding.equal for finding in compare({"a": 1, "b": 2}, {"a": 1})] == [True, False]


def test_numbers_are_compared_with_a_tolerance() -> None:
    ones = np.ones((2, 3), np.float32)
    assert compare_logits(ones, ones + 1e-6).equal
    assert not compare_logits(ones, ones + 1e-2).equal
    assert not compare_logits(ones, ones[:1]).equal
    assert compare_numbers("a", 2.5, 2.50001).equal and not compare_numbers("a", 2.5, 2.668).equal
