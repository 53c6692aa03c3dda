"""Equal in every bit or not, and by how much."""

from __future__ import annotations

import math

import torch

from gpt2zh.checkpoint.tensor_reader import measure_difference


def test_one_bit_counts() -> None:
    first = torch.linspace(-1, 1, 12).reshape(3, 4)
    other = first.clone()
    assert measure_difference(first, other) is None
    other.view(torch.int32)[1, 1] ^= 1
    gap = measure_difference(first, other)
    assert gap is not None and 0 < gap < 1e-7


def test_the_gap_is_a_share_of_the_largest_number() -> None:
    assert measure_difference(torch.tensor([1.0, -8.0]), torch.tensor([3.0, -8.0])) == 0.25


def test_a_zero_of_another_sign_is_no_gap_but_not_equal() -> None:
    assert measure_difference(torch.tensor(0.0), torch.tensor(-0.0)) == 0.0


def test_what_cannot_be_compared_is_infinitely_far() -> None:
    one, bad = torch.ones(2), torch.tensor([1.0, math.nan])
    assert (
        measure_difference(one, bad) == math.inf
        and measure_difference(one, torch.ones(3)) == math.inf
    )
    assert measure_difference(one, one.bfloat16()) == math.inf
    assert measure_difference(bad, bad.clone()) is None
