"""What the ranks decide together: to leave, to save, to validate. One exchange a step."""

from __future__ import annotations

import math
import time

import numpy as np

from gpt2zh.checkpoint.saver import Saver
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.train.loop import Batches, Votes
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult

_LOOK_EVERY = 1.0  # seconds between two looks within a step for whether to leave it


class Agreement:
    """Asks all ranks; each one brings its clock, its signals and its disk."""

    def __init__(
        self,
        plan: RunPlan,
        state: TrainState,
        saver: Saver,
        *,
        control: ControlGroup,
        stop: StopRequest,
        watch: Watch,
    ) -> None:
        """Take what the answers depend on.

        Args:
            plan: What this run does.
            state: Progress, as this start found it.
            saver: Knows whether it is time to save.
            control: Asks the other ranks.
            stop: Whether this process was asked to stop.
            watch: Marks what is done.
        """
        self._plan = plan
        self._state = state
        self._saver = saver
        self._control = control
        self._stop = stop
        self._watch = watch
        self._first_step = state.step
        self._started = self._validated_at = self._step_at = time.monotonic()
        self._look_every = 1  # micro-batches

    def should_stop(self) -> bool:
        """Return whether this rank knows a reason to leave."""
        return self._stop.asked() or self._is_over_time(self._state.step)

    def leaving(self, micro_batch: int) -> bool:
        """Return whether to leave a step half done; asks about once a second.

        Clocks and signals differ between ranks, the answer must not.
        """
        if micro_batch % self._look_every:
            return False
        self._watch.mark("asking whether to leave the step")
        leave = self._control.any(self.should_stop())[0]
        if leave:
            self.announce_stop(self._state.step)
        return leave

    def gives_up_saving(self) -> bool:
        """Return whether any rank was asked to stop while a last save is tried again and again."""
        return self._control.any(self._stop.asked())[0]

    def vote(self, step: int, batches: Batches, result: StepResult) -> Votes:
        """Exchange everything that all ranks must know after a step."""
        self._watch.mark("agreeing on what follows the step")
        now = time.monotonic()
        micro_seconds = (now - self._step_at) / len(batches)
        self._step_at = now
        every = self._plan.config.validation.every
        table = self._control.exchange(
            [
                result.applied,
                self._stop.asked() or self._is_over_time(step),
                self._saver.is_due(step),
                every.is_due(step=step, seconds=now - self._validated_at),
                self._saver.busy,
                round(1e6 * micro_seconds),
                sum(batch.tokens for batch in batches),
                *np.concatenate([batch.numbers for batch in batches]),
            ]
        )
        applied = table[:, 0].astype(bool)
        if applied.any() != applied.all():
            raise RuntimeError(
                f"step {step} updated the weights only on the ranks "
                f"{np.flatnonzero(applied).tolist()}: the memory of one of the machines is faulty; "
                "start again from the last checkpoint"
            )
        self._stop.has_work = True
        leave, save, validate, busy = (bool(column.any()) for column in table.T[1:5])
        self._look_every = max(1, math.ceil(1e6 * _LOOK_EVERY / max(int(table[:, 5].max()), 1)))
        if not busy:
            self._saver.complete()
        if leave and step != self._plan.steps:
            self.announce_stop(step)
        return Votes(
            applied=bool(applied[0]),
            numbers=table[:, 7:].reshape(-1),
            tokens=int(table[:, 6].sum()),
            leave=leave,
            save=save,
            validate=validate,
        )

    def announce_stop(self, step: int) -> None:
        """Print why the run stops."""
        limit = self._is_over_time(step)
        why = self._stop.reason or ("stop-after" if limit else "another rank was asked to")
        say(self._plan.world, f"stopping at step {step} ({why})")

    def resume_clock(self, *, validated: bool = False) -> None:
        """Start to time the next step now; what came before was not a step."""
        self._step_at = time.monotonic()
        if validated:
            self._validated_at = self._step_at

    def _is_over_time(self, step: int) -> bool:
        """Whether --stop-after is over.

        The clock of rank 0 counts, which also prints why the run stops: the ranks begin some
        milliseconds apart, and another one would end the run for a reason that rank 0 does not
        know yet.
        """
        seconds = time.monotonic() - self._started if self._plan.world.is_main else 0.0
        limit = self._plan.options.stop_after
        return limit.is_over(step=step - self._first_step, seconds=seconds)
