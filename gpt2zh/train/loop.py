"""The train loop: every act that trains runs this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from gpt2zh.data.batch import Batch
from gpt2zh.ranks.watch import Watch
from gpt2zh.train.engine import get_scaler_state, set_scaler_state
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepChecks, StepResult, step_seed, train_step

Batches = Sequence[Batch[torch.Tensor]]
"""This rank's micro-batches of one step."""


@dataclass(frozen=True)
class Task:
    """Length, schedule and identity of the loop."""

    last_step: int
    """Number of the last optimizer step."""
    seed: int
    """Seed of the random numbers."""
    rank: int
    """Number of this process."""
    learning_rate: Callable[[int], float]
    """Learning rate by number of the step."""
    log_every: int
    """Steps between two log lines."""
    validates: bool
    """Whether there is held-out text."""


@dataclass(frozen=True)
class Votes:
    """What all ranks know after a step; equal on all of them."""

    applied: bool
    """Whether the step updated the weights."""
    numbers: np.ndarray
    """Row numbers of all ranks in this step, (global batch,), in the order of the data."""
    tokens: int
    """Tokens in these rows, without padding."""
    leave: bool
    """Whether a rank was asked to stop, or --stop-after is reached."""
    save: bool
    """Whether it is time to save."""
    validate: bool
    """Whether it is time to validate."""


@dataclass(frozen=True)
class Due:
    """What to do after a step."""

    log: bool
    save: bool
    validate: bool
    stop: bool
    """End the loop before the last step."""


def decide(votes: Votes, step: int, task: Task) -> Due:
    """Return what to do after a step. The end and a stop always save; a stop never validates."""
    last = step == task.last_step
    stop = votes.leave and not last
    return Due(
        log=last or stop or step == 1 or step % task.log_every == 0,
        save=last or stop or votes.save,
        # The sender of a signal wants the run to end within seconds: no validation.
        validate=task.validates and not stop and (last or votes.validate),
        stop=stop,
    )


class Hooks(Protocol):
    """The callbacks around the steps; `gpt2zh.run.hooks` implements them.

    All ranks call every hook at the same steps, so a hook may use collectives.
    """

    @property
    def exhausted(self) -> bool:
        """Whether validation has not improved for so long that the run ends."""
        ...

    def checks(self) -> StepChecks:
        """Return the checks that are made within the next step."""
        ...

    def vote(self, step: int, batches: Batches, result: StepResult) -> Votes:
        """Exchange what all ranks must know after a step."""
        ...

    def bad_numbers(
        self, state: TrainState, batches: Batches, first: StepResult, again: StepResult
    ) -> None:
        """Record a step whose numbers were bad, before it is counted.

        Args:
            state: Progress before the step.
            batches: This rank's micro-batches.
            first: The result of the first attempt.
            again: The result of the second attempt at the same step.

        Raises:
            RunError: Too many such steps in a row.
        """
        ...

    def counted(self, votes: Votes) -> None:
        """Note the rows of a step that was counted."""
        ...

    def log(self, state: TrainState, result: StepResult) -> None:
        """Report the step just counted."""
        ...

    def save(self, state: TrainState) -> None:
        """Begin to write a checkpoint."""
        ...

    def validate(self, state: TrainState) -> float | None:
        """Return the loss on held-out text; None if a rank was asked to stop during validation."""
        ...

    def judge(self, state: TrainState, loss: float) -> None:
        """Compare a validation loss with the best one, and keep the checkpoint if it is lower."""
        ...

    def finish(self, state: TrainState, *, stopped: bool) -> None:
        """Wait until the last state is written."""
        ...


def fit(
    engine: Any,
    steps: Iterator[Batches],
    state: TrainState,
    task: Task,
    *,
    watch: Watch,
    hooks: Hooks,
) -> bool:
    """Train from `state` to the last step, or until the ranks agree to stop.

    A step whose numbers are bad does not change the weights. It is repeated at once with the same
    rows and random numbers. If the second attempt is good, the hardware made an error; if not, the
    rows are the cause, and the run continues without learning from them.

    Args:
        engine: The DeepSpeed engine.
        steps: Yields this rank's micro-batches of each step, from the state's position on.
        state: Progress; updated in place.
        task: Length, schedule and identity of the loop.
        watch: Gets a mark at each phase.
        hooks: The callbacks around the steps.

    Returns:
        Whether the run was stopped before the last step.
    """
    engine.train()
    stopped = False
    while state.step < task.last_step and not stopped and not hooks.exhausted:
        watch.step = state.step + 1
        watch.mark("waiting for rows")
        taken = _take_well(engine, next(steps), state, task, watch=watch, hooks=hooks)
        if taken is None:
            stopped = True
            break
        votes, result = taken
        due = decide(votes, state.step + 1, task)
        stopped = due.stop
        state.advance(votes.numbers, tokens=votes.tokens)
        hooks.counted(votes)
        if due.log:
            hooks.log(state, result)
        if due.save:
            hooks.save(state)  # before validation: a crash there must not cost the steps
        if due.validate:
            loss = hooks.validate(state)
            engine.train()
            if loss is None:
                stopped = state.step < task.last_step
            else:
                hooks.judge(state, loss)
    hooks.finish(state, stopped=stopped)
    return stopped


def _take_well(
    engine: Any, batches: Batches, state: TrainState, task: Task, *, watch: Watch, hooks: Hooks
) -> tuple[Votes, StepResult] | None:
    """Take a step, and repeat it if its numbers were bad; None if it was left unfinished."""
    step, scale = state.step + 1, get_scaler_state(engine)

    def take() -> StepResult | None:
        seed = step_seed(task.seed, step=step, rank=task.rank)
        lr = task.learning_rate(step)
        return train_step(engine, batches, lr, seed=seed, watch=watch, checks=hooks.checks())

    first = take()
    if first is None:
        return None
    votes = hooks.vote(step, batches, first)
    if votes.applied or not first.fault():
        return votes, first
    set_scaler_state(engine, scale)  # fp16 reduced it: it took the bad numbers for an overflow
    again = take()
    if again is None:
        return None
    votes = hooks.vote(step, batches, again)
    if not votes.applied:
        set_scaler_state(engine, scale)
    hooks.bad_numbers(state, batches, first, again)
    return votes, again
