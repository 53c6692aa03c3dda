"""The learning rate of every step."""

from __future__ import annotations

import itertools

import pytest

from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.train.schedule import learning_rate

STEPS, WARMUP, PEAK = 1000, 100, 2e-3
SHAPES = ("cosine", "linear", "wsd", "constant")


def rates(schedule: str, **more: float) -> list[float]:
    """The learning rate of steps 1 to 1000."""
    settings = {"lr": PEAK, "warmup_steps": WARMUP, "final_lr_fraction": 0.1} | more
    config = OptimizerConfig(schedule=schedule, **settings)
    return [learning_rate(step, steps=STEPS, config=config) for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("schedule", SHAPES)
def test_the_warmup_is_a_line_to_the_peak(schedule: str) -> None:
    found = rates(schedule)
    assert found[:WARMUP] == pytest.approx([PEAK * s / WARMUP for s in range(1, WARMUP + 1)])
    assert max(found) == found[WARMUP - 1] == PEAK


@pytest.mark.parametrize("schedule", SHAPES)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 1.0])
def test_it_never_rises_after_the_peak_and_ends_at_its_fraction(
    schedule: str, fraction: float
) -> None:
    found = rates(schedule, final_lr_fraction=fraction)
    assert all(a >= b - 1e-15 for a, b in itertools.pairwise(found[WARMUP - 1 :]))
    last = PEAK if schedule == "constant" else PEAK * fraction
    assert found[-1] == pytest.approx(last, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "step", "fraction"),
    [
        ("cosine", 550, 0.55),  # half-way: the mean of peak and end
        ("cosine", 325, 0.1 + 0.9 * 0.5 * (1 + 2**-0.5)),
        ("linear", 550, 0.55),
        ("linear", 325, 0.775),
        ("wsd", 550, 1.0),
        ("wsd", 800, 1.0),
        ("constant", 999, 1.0),
    ],
)
def test_the_shape_between(schedule: str, step: int, fraction: float) -> None:
    assert rates(schedule)[step - 1] == pytest.approx(PEAK * fraction)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_wsd_falls_linearly_in_its_share_of_all_steps(share: float) -> None:
    found = rates("wsd", decay_fraction=share)
    falling = found[WARMUP:]
    assert sum(rate < PEAK for rate in falling) == share * STEPS
    falls = [a - b for a, b in itertools.pairwise(falling) if b < PEAK]
    assert falls == pytest.approx([falls[0]] * len(falls))


@pytest.mark.parametrize("schedule", SHAPES)
def test_without_warmup_it_begins_near_the_peak(schedule: str) -> None:
    found = rates(schedule, warmup_steps=0)
    assert PEAK * 0.998 < found[0] <= PEAK


@pytest.mark.parametrize("schedule", SHAPES)
def test_a_run_shorter_than_its_warmup_only_rises(schedule: str) -> None:
    config = OptimizerConfig(schedule=schedule, lr=PEAK, warmup_steps=100)
    found = [learning_rate(step, steps=50, config=config) for step in range(1, 51)]
    assert found == sorted(found) and found[-1] == PEAK / 2
