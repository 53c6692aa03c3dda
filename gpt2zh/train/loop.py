"""The train loop: every act that trains runs this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gpt2zh.data.batch import Batch
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult, train_step


@dataclass(frozen=True)
class Due:
    """What shall happen after a step; all ranks hold the same answer."""

    log: bool
    save: bool
    validate: bool
    stop: bool


class Hooks(Protocol):
    """What happens around the steps; the recipes decide it.

    All ranks call every hook at the same steps, so a hook may use collectives.
    """

    def due(self, state: TrainState) -> Due:
        """Decide, together with all ranks, what follows the step just done."""
        ...

    def log(self, state: TrainState, result: StepResult) -> None:
        """Report the step just done."""
        ...

    def save(self, state: TrainState) -> None:
        """Write a checkpoint."""
        ...

    def validate(self, state: TrainState) -> None:
        """Measure on held-out text."""
        ...


def fit(
    engine: Any,
    steps: Iterator[Sequence[Batch]],
    state: TrainState,
    *,
    last_step: int,
    rows_per_step: int,
    tokens_per_row: int,
    learning_rate: Callable[[int], float],
    hooks: Hooks,
) -> None:
    """Train from `state` to `last_step`, or until the hooks say stop.

    Args:
        engine: The DeepSpeed engine.
        steps: This rank's micro-batches of one step after the other, from the state's position.
        state: Progress; updated in place.
        last_step: Number of the last optimizer step.
        rows_per_step: Rows of a step over all ranks.
        tokens_per_row: Tokens of a row.
        learning_rate: Learning rate by number of the step.
        hooks: What happens around the steps.
    """
    engine.train()
    while state.step < last_step:
        result = train_step(engine, next(steps), learning_rate(state.step + 1))
        state.step += 1
        state.rows += rows_per_step
        state.tokens += rows_per_step * tokens_per_row
        due = hooks.due(state)
        if due.log:
            hooks.log(state, result)
        if due.save:
            hooks.save(state)  # before validation: a crash there must not cost the steps
        if due.validate:
            hooks.validate(state)
            engine.train()
        if due.stop:
            return
