"""Protect the weights from steps with bad numbers and from loss spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpt2zh.checkpoint.saver import Saver
from gpt2zh.config.checks import SMALLEST_WINDOW
from gpt2zh.config.errors import RunError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.run import bad_steps
from gpt2zh.run.bad_steps import BadStep
from gpt2zh.run.step_log import StepLog
from gpt2zh.train.loop import Batches
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult

_MOST_INCIDENTS = 1000  # kept in a checkpoint; metrics.jsonl has all


class Guard:
    """Rejects spikes, records bad steps, and ends the run after too many in a row."""

    def __init__(
        self, plan: RunPlan, state: TrainState, saver: Saver, control: ControlGroup, log: StepLog
    ) -> None:
        """Take what the guard acts on.

        Args:
            plan: What this run does.
            state: Progress at this start.
            saver: Saves the state before a streak of bad steps.
            control: Collects the suspect rows of all ranks.
            log: Gets the bad steps.
        """
        self._plan = plan
        self._state = state
        self._saver = saver
        self._control = control
        self._log = log
        self._loss: float | None = None  # of the current step, if spikes are looked for

    @property
    def looks_for_spikes(self) -> bool:
        """Whether each loss must be known before the weights are updated."""
        return bool(self._plan.config.guard.spike)

    def is_spike(self, loss: float) -> bool:
        """Return whether a loss lies far above the recent ones."""
        self._loss = loss
        return z_score(loss, self._state.recent) > self._plan.config.guard.spike

    def step_was_good(self) -> None:
        """Note that a step updated the weights."""
        self._state.end_streak()
        if self._loss is not None:
            window = self._plan.config.guard.spike_window
            self._state.recent = [*self._state.recent, self._loss][-window:]

    def step_was_bad(
        self, state: TrainState, batches: Batches, first: StepResult, again: StepResult
    ) -> None:
        """Record a step that was attempted twice.

        Raises:
            RunError: Too many bad steps in a row.
        """
        outcome = "good" if again.applied else again.fault() or "good"
        mine = [int(number) for batch in batches for number in batch.numbers]
        found = self._control.gather((bad_steps.find_suspects(batches, first), mine))
        rows = [n for some, _ in found for n in some] or [n for _, every in found for n in every]
        bad = BadStep(state.step + 1, first.fault() or "loss", outcome, tuple(rows))
        if state.bad_streak == 0 and outcome != "good":
            state.begin_streak()
        state.incidents = [*state.incidents, bad.record][-_MOST_INCIDENTS:]
        self._log.bad_step(bad, state)
        if outcome == "good":
            return
        state.bad_streak += 1
        if state.bad_streak >= self._plan.config.guard.bad_steps:
            self._give_up(state)

    def _give_up(self, state: TrainState) -> None:
        """Go back to the state before the bad steps, which did not change the weights, and end.

        Whatever was saved among them goes: from there, the next start would leave out their rows.
        """
        if state.before_streak is not None:  # an older version may have saved within the streak
            self._saver.return_to(TrainState(**state.before_streak))
        raise RunError(
            Exit.BAD_NUMBERS,
            f"{state.bad_streak} steps in a row had bad numbers (guard.bad_steps), up to step "
            f"{state.step + 1}; they did not change the weights. See the text of their rows in "
            f"{self._plan.config.output / bad_steps.FOLDER}; then start again with --skip-rows, "
            "with a lower optimizer.lr, or with --resume and an older checkpoint",
        )


def z_score(loss: float, recent: Sequence[float]) -> float:
    """Return how many standard deviations a loss lies above the mean of the recent ones.

    Returns:
        The score; 0 while there are fewer than `SMALLEST_WINDOW` losses, and for a loss that is not
        finite, which is another fault.
    """
    if len(recent) < SMALLEST_WINDOW or not math.isfinite(loss):
        return 0.0
    mean = math.fsum(recent) / len(recent)
    variance = math.fsum((value - mean) ** 2 for value in recent) / len(recent)
    return (loss - mean) / max(math.sqrt(variance), 1e-6)
