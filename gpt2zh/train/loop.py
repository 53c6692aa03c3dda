"""The train loop: every act that trains runs this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gpt2zh.data.batch import Batch
from gpt2zh.ranks.watch import Watch
from gpt2zh.train.engine import scaler_state, set_scaler_state
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult, step_seed, train_step


@dataclass(frozen=True)
class Due:
    """What shall happen after a step; all ranks hold the same answer."""

    applied: bool
    """Whether the step updated the weights."""
    numbers: np.ndarray
    """Row numbers that all ranks have read in it, (global batch,), in the order of the walk."""
    log: bool
    save: bool
    validate: bool
    stop: bool


class Hooks(Protocol):
    """What happens around the steps; the recipes decide it.

    All ranks call every hook at the same steps, so a hook may use collectives.
    """

    stopped: bool
    """Whether all ranks have agreed to leave before the last step."""

    def leaving(self, micro_batch: int) -> bool:
        """Whether to leave a step half done, before this micro-batch of it."""
        ...

    def refused(self) -> Callable[[float], bool] | None:
        """What tells whether the loss of the next step is one to learn from; None if all are."""
        ...

    def agree(self, step: int, batches: Sequence[Batch], result: StepResult) -> Due:
        """Decide, together with all ranks, what follows the step just taken."""
        ...

    def bad_numbers(
        self, state: TrainState, batches: Sequence[Batch], first: StepResult, again: StepResult
    ) -> None:
        """Record a step whose numbers were bad, before it is counted.

        Args:
            state: Progress before the step.
            batches: This rank's micro-batches.
            first: The step as it was taken first.
            again: The same step, taken once more.

        Raises:
            Exception: There were too many of them.
        """
        ...

    def counted(self, due: Due) -> None:
        """Note the rows of a step that was counted."""
        ...

    def log(self, state: TrainState, result: StepResult) -> None:
        """Report the step just counted."""
        ...

    def save(self, state: TrainState) -> None:
        """Begin to write a checkpoint."""
        ...

    def validate(self, state: TrainState) -> None:
        """Measure on held-out text."""
        ...

    def finish(self, state: TrainState) -> None:
        """Wait until the last state is written."""
        ...


def fit(
    engine: Any,
    steps: Iterator[Sequence[Batch]],
    state: TrainState,
    *,
    last_step: int,
    tokens_per_row: int,
    seed: int,
    rank: int,
    learning_rate: Callable[[int], float],
    watch: Watch,
    hooks: Hooks,
) -> None:
    """Train from `state` to `last_step`, or until the hooks say stop.

    A step whose numbers are bad does not touch the weights. It is taken again at once with the same
    rows and random numbers: if it is good then, some hardware erred; if not, the rows are to blame
    and the run goes on without having learnt from them.

    Args:
        engine: The DeepSpeed engine.
        steps: This rank's micro-batches of one step after the other, from the state's position.
        state: Progress; updated in place.
        last_step: Number of the last optimizer step.
        tokens_per_row: Tokens of a row.
        seed: Of the random numbers.
        rank: Number of this process.
        learning_rate: Learning rate by number of the step.
        watch: Told what is done.
        hooks: What happens around the steps.
    """
    engine.train()
    while state.step < last_step:
        step = watch.step = state.step + 1
        watch.mark("waiting for rows")
        batches = next(steps)

        def take(step: int = step, batches: Sequence[Batch] = batches) -> StepResult | None:
            return train_step(
                engine,
                batches,
                learning_rate(step),
                seed=step_seed(seed, step=step, rank=rank),
                watch=watch,
                leaving=hooks.leaving,
                refused=hooks.refused(),
            )

        taken = _take_well(take, engine, state, batches, hooks)
        if taken is None:
            break
        due, result = taken
        state.advance(due.numbers, tokens=len(due.numbers) * tokens_per_row)
        hooks.counted(due)
        if due.log:
            hooks.log(state, result)
        if due.save:
            hooks.save(state)  # before validation: a crash there must not cost the steps
        if due.validate:
            hooks.validate(state)
            engine.train()
        if due.stop or hooks.stopped:
            break
    hooks.finish(state)


def _take_well(
    take: Callable[[], StepResult | None],
    engine: Any,
    state: TrainState,
    batches: Sequence[Batch],
    hooks: Hooks,
) -> tuple[Due, StepResult] | None:
    """Take a step, and once more if its numbers were bad; None if it was left half done."""
    step, scale = state.step + 1, scaler_state(engine)
    first = take()
    if first is None:
        return None
    due = hooks.agree(step, batches, first)
    if due.applied or not first.fault():
        return due, first
    set_scaler_state(engine, scale)  # fp16 took it for an overflow
    again = take()
    if again is None:
        return None
    due = hooks.agree(step, batches, again)
    if not due.applied:
        set_scaler_state(engine, scale)
    hooks.bad_numbers(state, batches, first, again)
    return due, again
