"""When a loss is a spike."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from gpt2zh.config.checks import SMALLEST_WINDOW
from gpt2zh.run.guard import z_score

_RANDOM = random.Random(4)
RECENT = [_RANDOM.gauss(3.0, 0.1) for _ in range(64)]


@pytest.mark.parametrize("loss", [0.0, 2.9, 3.0, 3.5, 40.0])
def test_it_is_the_distance_from_the_mean_in_standard_deviations(loss: float) -> None:
    expected = (loss - statistics.fmean(RECENT)) / statistics.pstdev(RECENT)
    assert z_score(loss, RECENT) == pytest.approx(expected)


def test_a_good_loss_is_below_and_a_spike_far_above() -> None:
    assert abs(z_score(3.05, RECENT)) < 1
    assert z_score(4.0, RECENT) > 6
    assert z_score(2.0, RECENT) < -6  # a loss that falls is no spike


def test_too_few_losses_tell_nothing() -> None:
    assert z_score(1000.0, []) == 0.0
    assert z_score(1000.0, RECENT[: SMALLEST_WINDOW - 1]) == 0.0
    assert z_score(1000.0, RECENT[:SMALLEST_WINDOW]) > 6


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_another_fault(loss: float) -> None:
    assert z_score(loss, RECENT) == 0.0


def test_equal_losses_do_not_divide_by_zero() -> None:
    equal = [3.0] * SMALLEST_WINDOW
    assert z_score(3.0, equal) == 0.0
    assert math.isfinite(z_score(3.1, equal)) and z_score(3.1, equal) > 6
