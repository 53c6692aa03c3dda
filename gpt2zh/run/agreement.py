"""Decide together with all ranks to stop, save and validate, with one exchange per step.

Stopping, saving, validating, whether the numbers were good, whether files are still being written
and which rows were read: all of it travels in one collective of the control group.
"""

from __future__ import annotations

import math
import time

import numpy as np

from gpt2zh.checkpoint.saver import Saver
from gpt2zh.config.errors import RunError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.files.lock import LostFolderError
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.peers import Peers
from gpt2zh.train.loop import Batches, Votes
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult

_ASK_EVERY = 1.0  # seconds between two questions within a step whether to leave it
_CHECK_EVERY = 1.0  # seconds between two looks whether the run folder is still ours


class Agreement:
    """Asks all ranks; each one answers for its clock, its signals and its disk."""

    def __init__(self, plan: RunPlan, state: TrainState, saver: Saver, peers: Peers) -> None:
        """Take what the answers depend on.

        Args:
            plan: What this run does.
            state: Progress at this start.
            saver: Knows whether it is time to save.
            peers: The other ranks.
        """
        self._plan = plan
        self._state = state
        self._saver = saver
        self._peers = peers
        self._control = peers.control
        self._stop = peers.stop
        self._watch = peers.watch
        self._first_step = state.step
        self._started = self._validated_at = self._step_at = time.monotonic()
        self._ask_every = 1  # micro-batches

    def should_stop(self) -> bool:
        """Return whether this rank has a reason to stop."""
        return self._stop.asked() or self._is_over_time(self._state.step)

    def leaving(self, micro_batch: int) -> bool:
        """Return whether to leave a step unfinished; ask all ranks about once a second.

        Clocks and signals differ between ranks; the answer must not.
        """
        if micro_batch % self._ask_every:
            return False
        self._watch.mark("asking whether to leave the step")
        leave = self._control.any(self.should_stop())[0]
        if leave:
            self.announce_stop(self._state.step)
        return leave

    def gives_up_saving(self) -> bool:
        """Return whether any rank was asked to stop during the attempts at the last save."""
        return self._control.any(self._stop.asked())[0]

    def vote(self, step: int, batches: Batches, result: StepResult) -> Votes:
        """Exchange everything that all ranks must know after a step.

        Raises:
            RunError: The run folder now belongs to another run.
        """
        self._watch.mark("agreeing on what follows the step")
        lost = self._find_lost_folder()
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
                lost is not None,
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
        if table[:, 5].any():
            raise RunError(Exit.NOT_SAVED, f"step {step} is not saved: {lost or 'see rank 0'}")
        self._stop.has_work = True
        leave, save, validate, busy = (bool(column.any()) for column in table.T[1:5])
        self._ask_every = max(1, math.ceil(1e6 * _ASK_EVERY / max(int(table[:, 6].max()), 1)))
        if not busy:
            self._saver.complete()
        if leave and step != self._plan.steps:
            self.announce_stop(step)
        return Votes(
            applied=bool(applied[0]),
            numbers=table[:, 8:].reshape(-1),
            tokens=int(table[:, 7].sum()),
            leave=leave,
            save=save,
            validate=validate,
        )

    def announce_stop(self, step: int) -> None:
        """Print why the run stops."""
        limit = self._is_over_time(step)
        why = self._stop.reason or ("stop-after" if limit else "another rank was asked to stop")
        say(self._plan.world, f"stopping at step {step} ({why})")

    def resume_clock(self, *, validated: bool = False) -> None:
        """Time the next step from now on, because other work came before it.

        Args:
            validated: Whether that work was a validation.
        """
        self._step_at = time.monotonic()
        if validated:
            self._validated_at = self._step_at

    def _find_lost_folder(self) -> str | None:
        """Return on rank 0 why the run folder is no longer ours; None if it is."""
        try:
            self._peers.check_folder(at_most_every=_CHECK_EVERY)
        except LostFolderError as error:
            return str(error)
        return None

    def _is_over_time(self, step: int) -> bool:
        """Return whether --stop-after is reached, by the clock of rank 0.

        Rank 0 prints why the run stops. The ranks start some milliseconds apart, so by another
        clock the run could end for a reason that rank 0 does not know yet.
        """
        seconds = time.monotonic() - self._started if self._plan.world.is_main else 0.0
        limit = self._plan.options.stop_after
        return limit.is_over(step=step - self._first_step, seconds=seconds)
