"""The predicted speed against what others measured."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.published import PUBLISHED, Published, shares
from gpt2zh.cost import computing


@pytest.mark.parametrize("run", PUBLISHED, ids=lambda run: f"{run.what} on {run.card_name}")
def test_published_runs_are_met(run: Published) -> None:
    """Within a factor of 1.5: the cards, the years and the code of these runs differ."""
    found = run.predicted()
    assert found.expected / 1.5 < run.rate < 1.5 * found.expected
    assert run.rate < 1.04 * found.best


def test_what_is_reached_is_the_middle_of_published_runs() -> None:
    reached = [computing.COMPILED * share for share in shares()]
    assert statistics.median(reached) == pytest.approx(computing.COMPILED, abs=0.05)
    assert (min(reached), max(reached)) == pytest.approx((0.49, 1.04), abs=0.005)
