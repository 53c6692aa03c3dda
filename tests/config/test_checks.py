"""Numbers of a config that are not valid, found without reading any file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2zh.config.checks import SMALLEST_WINDOW, config_faults
from gpt2zh.config.duration import Duration
from gpt2zh.config.schema import (
    CheckpointConfig,
    GuardConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ValidationConfig,
)


def faults_of(**sections: object) -> list[str]:
    return config_faults(PretrainConfig(data=("shards",), output=Path("run"), **sections))


def test_the_defaults_have_a_meaning() -> None:
    assert faults_of() == []


@pytest.mark.parametrize("keep", [-1, 0, 1])
def test_fewer_than_two_checkpoints_are_too_few(keep: int) -> None:
    (told,) = faults_of(checkpoint=CheckpointConfig(keep_last=keep))
    assert told == (
        f"checkpoint.keep_last is {keep}; it must be 2 or more, since a disk may damage one "
        "checkpoint"
    )
    assert faults_of(checkpoint=CheckpointConfig(keep_last=2)) == []


@pytest.mark.parametrize("steps", [0, -3])
def test_a_run_gives_up_after_one_bad_step_at_the_earliest(steps: int) -> None:
    (told,) = faults_of(guard=GuardConfig(bad_steps=steps))
    assert told == f"guard.bad_steps is {steps}; it must be 1 or more"
    assert faults_of(guard=GuardConfig(bad_steps=1)) == []


@pytest.mark.parametrize("spike", [-1.0, float("nan")])
def test_a_spike_is_some_deviations_or_0(spike: float) -> None:
    (told,) = faults_of(guard=GuardConfig(spike=spike))
    assert told == f"guard.spike is {spike}; it must be 0 or more"
    assert faults_of(guard=GuardConfig(spike=6.0)) == []


def test_a_window_that_tells_no_deviation_is_refused_where_it_is_used() -> None:
    window = SMALLEST_WINDOW - 1
    (told,) = faults_of(guard=GuardConfig(spike=6.0, spike_window=window))
    assert told.startswith(f"guard.spike_window is {window}; it must be {SMALLEST_WINDOW} or more")
    assert faults_of(guard=GuardConfig(spike=0.0, spike_window=window)) == []
    assert faults_of(guard=GuardConfig(spike=6.0, spike_window=SMALLEST_WINDOW)) == []


@pytest.mark.parametrize("text", ["100steps", "100steps,10min"])
def test_standing_still_is_measured_in_time(text: str) -> None:
    (told,) = faults_of(guard=GuardConfig(hang_after=Duration.parse(text)))
    assert told.startswith("guard.hang_after is ") and told.endswith(
        "it must be a time, such as 10min"
    )
    for fine in ("10min", "never"):
        assert faults_of(guard=GuardConfig(hang_after=Duration.parse(fine))) == []


def test_all_faults_are_told_at_once() -> None:
    told = faults_of(
        guard=GuardConfig(bad_steps=0, spike=-1.0),
        checkpoint=CheckpointConfig(keep_last=1),
        log=LogConfig(every=0),
    )
    assert len(told) == 4


@pytest.mark.parametrize("context", [0, 1])
def test_a_context_of_less_than_two_tokens_is_refused_with_its_value(context: int) -> None:
    (fault,) = faults_of(model=ModelConfig(context=context))
    assert fault == f"model.context is {context}; it must be 2 or more"


def test_what_does_not_fit_together_is_told_too() -> None:
    (told,) = faults_of(model=ModelConfig(width=30, heads=4))
    assert told == "model.width 30 is not a multiple of model.heads 4"


@pytest.mark.parametrize("momentum", [1.0, -0.1, float("nan")])
def test_a_momentum_forgets_something(momentum: float) -> None:
    (told,) = faults_of(optimizer=OptimizerConfig(momentum=momentum))
    assert told == f"optimizer.momentum is {momentum}; it must be at least 0 and below 1"
    assert faults_of(optimizer=OptimizerConfig(momentum=0.0)) == []


def test_what_judges_validations_needs_some() -> None:
    never = ValidationConfig(every=Duration(), patience=3)
    (told,) = faults_of(validation=never)
    assert told.startswith("validation.patience is 3, but validation.every is never")
    (told,) = faults_of(
        validation=ValidationConfig(every=Duration()), checkpoint=CheckpointConfig(keep_best=True)
    )
    assert told.startswith("checkpoint.keep_best is True, but validation.every is never")
