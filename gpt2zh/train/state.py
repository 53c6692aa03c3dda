"""The progress of a run: what a checkpoint holds besides weights and moments.

No state of random numbers: each step seeds them with (seed, step, rank). So a resume cannot forget
it, and a step can be repeated.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gpt2zh.data import chain


@dataclass
class TrainState:
    """Progress of a run; counts only steps that are finished."""

    step: int = 0
    """Optimizer steps done, including skipped ones."""
    rows: int = 0
    """Rows consumed over all ranks and epochs; with the seed, this is the position in the data."""
    tokens: int = 0
    """Tokens consumed over all ranks and epochs."""
    chain: str = chain.START
    """Hash chain of the consumed row numbers; see `data.chain`."""
    bad_streak: int = 0
    """Consecutive last steps that were skipped for their bad numbers."""
    before_streak: dict[str, Any] | None = None
    """The record before the first of these steps; None without such steps. The steps of a streak do
    not change the weights, so this is all that a return to the state before them needs."""
    incidents: list[dict[str, Any]] = field(default_factory=list)
    """Every step with bad numbers, as `run.bad_steps.BadStep.record`."""
    recent: list[float] = field(default_factory=list)
    """Losses of the last steps, to detect spikes; empty if guard.spike is 0."""

    @property
    def record(self) -> dict[str, Any]:
        """The fields, as a checkpoint holds them; `TrainState(**record)` is equal to this state."""
        record = asdict(self)
        if self.before_streak is None:
            del record["before_streak"]
        return record

    def begin_streak(self) -> None:
        """Keep the present state as the one before a streak of bad steps."""
        self.before_streak = copy.deepcopy(self.record)

    def end_streak(self) -> None:
        """Forget the streak of bad steps: a step was good."""
        self.bad_streak, self.before_streak = 0, None

    def advance(self, numbers: np.ndarray, *, tokens: int) -> None:
        """Count one more step.

        Args:
            numbers: Row numbers of the step over all ranks, (global batch,).
            tokens: Tokens in them.
        """
        self.step += 1
        self.rows += len(numbers)
        self.tokens += tokens
        self.chain = chain.extend(self.chain, numbers)
