"""What follows a step: logs, checkpoints, validation, the end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gpt2zh.train.loop import Due, Task, Votes, decide

TASK = Task(
    last_step=10, seed=0, rank=0, learning_rate=lambda step: 0.1, log_every=4, validates=True
)
QUIET = Votes(applied=True, numbers=np.arange(2), tokens=8, leave=False, save=False, validate=False)


@pytest.mark.parametrize("step", range(1, 10))
def test_nothing_follows_a_step_but_every_so_many_a_line(step: int) -> None:
    due = decide(QUIET, step, TASK)
    assert due == Due(log=step in (1, 4, 8), save=False, validate=False, stop=False)


def test_the_last_step_is_logged_saved_and_validated_and_is_no_stop() -> None:
    leaving = dataclasses.replace(QUIET, leave=True)
    for votes in (QUIET, leaving):
        assert decide(votes, 10, TASK) == Due(log=True, save=True, validate=True, stop=False)


def test_a_stop_saves_and_does_not_wait_for_a_validation() -> None:
    votes = dataclasses.replace(QUIET, leave=True, validate=True)
    assert decide(votes, 3, TASK) == Due(log=True, save=True, validate=False, stop=True)


def test_the_ranks_ask_for_a_checkpoint_and_a_validation_apart() -> None:
    save, validate = (dataclasses.replace(QUIET, **{name: True}) for name in ("save", "validate"))
    assert decide(save, 3, TASK) == Due(log=False, save=True, validate=False, stop=False)
    assert decide(validate, 3, TASK) == Due(log=False, save=False, validate=True, stop=False)


def test_without_held_out_text_nothing_is_validated() -> None:
    task = dataclasses.replace(TASK, validates=False)
    for step in (3, 10):
        assert not decide(dataclasses.replace(QUIET, validate=True), step, task).validate
