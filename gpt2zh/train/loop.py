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
    """What the loop does."""

    last_step: int
    """Number of the last optimizer step."""
    seed: int
    """Of the random numbers."""
    rank: int
    """Number of this process."""
    learning_rate: Callable[[int], float]
    """Learning rate by number of the step."""
    log_every: int
    """Steps between two lines."""
    validates: bool
    """Whether there is held-out text."""


@dataclass(frozen=True)
class Votes:
    """What the ranks know together after a step; equal on all of them."""

    applied: bool
    """Whether the step updated the weights."""
    numbers: np.ndarray
    """Row numbers that all ranks have read in it, (global batch,), in the order of the walk."""
    tokens: int
    """Tokens in these rows, without padding."""
    leave: bool
    """Whether a rank was asked to stop, or the time of this start is over."""
    save: bool
    """Whether it is time to save."""
    validate: bool
    """Whether it is time to validate."""


@dataclass(frozen=True)
class Due:
    """What follows a step."""

    log: bool
    save: bool
    validate: bool
    stop: bool
    """Leave before the last step."""


def decide(votes: Votes, step: int, task: Task) -> Due:
    """Return what follows a step: the end and a stop always save, and only the end validates."""
    last = step == task.last_step
    stop = votes.leave and not last
    return Due(
        log=last or stop or step == 1 or step % task.log_every == 0,
        save=last or stop or votes.save,
        # Whoever sent a signal wants the run to end within seconds: no validation then.
        validate=task.validates and not stop and (last or votes.validate),
        stop=stop,
    )


class Hooks(Protocol):
    """What happens around the steps; `gpt2zh.run` implements it.

    All ranks call every hook at the same steps, so a hook may use collectives.
    """

    @property
    def exhausted(self) -> bool:
        """Whether validation has not improved for so long that the run ends."""
        ...

    def checks(self) -> StepChecks:
        """Return what the next step asks while it is taken."""
        ...

    def vote(self, step: int, batches: Batches, result: StepResult) -> Votes:
        """Ask all ranks what they know after a step."""
        ...

    def bad_numbers(
        self, state: TrainState, batches: Batches, first: StepResult, again: StepResult
    ) -> None:
        """Record a step whose numbers were bad, before it is counted.

        Args:
            state: Progress before the step.
            batches: This rank's micro-batches.
            first: The step as it was taken first.
            again: The same step, taken once more.

        Raises:
            RunError: There were too many of them.
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
        """Return the loss on held-out text; None if a rank was asked to stop meanwhile."""
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

    A step whose numbers are bad does not touch the weights. It is taken again at once with the same
    rows and random numbers: if it is good then, some hardware erred; if not, the rows are to blame
    and the run goes on without learning from them.

    Args:
        engine: The DeepSpeed engine.
        steps: This rank's micro-batches of one step after the other, from the state's position.
        state: Progress; updated in place.
        task: Length, seed and schedule.
        watch: Marks what is done.
        hooks: What happens around the steps.

    Returns:
        Whether it was stopped before the last step.
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
    """Take a step, and once more if its numbers were bad; None if it was left half done."""
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
    set_scaler_state(engine, scale)  # fp16 took it for an overflow
    again = take()
    if again is None:
        return None
    votes = hooks.vote(step, batches, again)
    if not votes.applied:
        set_scaler_state(engine, scale)
    hooks.bad_numbers(state, batches, first, again)
    return votes, again
