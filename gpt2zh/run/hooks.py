"""The hooks of a run: log, save, validate and stop, as `train.loop.Hooks` requires."""

from __future__ import annotations

import time
from typing import Any

from gpt2zh.checkpoint.saver import Saver
from gpt2zh.config.errors import RunError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.peers import Peers
from gpt2zh.run.agreement import Agreement
from gpt2zh.run.best import History, read_history, write_history
from gpt2zh.run.guard import Guard
from gpt2zh.run.step_log import StepLog
from gpt2zh.run.validate import Validator
from gpt2zh.train.loop import Batches, Votes
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepChecks, StepResult


class RunHooks:
    """Implements `train.loop.Hooks`, which describes each method."""

    def __init__(
        self, engine: Any, plan: RunPlan, state: TrainState, saver: Saver, peers: Peers
    ) -> None:
        """Take what the hooks act on; all ranks call it.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            state: Progress at this start.
            saver: Writes the checkpoints.
            peers: The other ranks.
        """
        self._plan = plan
        self._saver = saver
        self._first_step = state.step
        self._agreement = Agreement(plan, state, saver, peers)
        self._log = StepLog(engine, plan, state)
        self._guard = Guard(plan, state, saver, peers.control, self._log)
        self._validator = Validator(
            engine,
            plan,
            control=peers.control,
            should_stop=self._agreement.should_stop,
            watch=peers.watch,
        )
        mine = read_history(plan.config.output, step=state.step) if plan.world.is_main else None
        self._history: History = peers.control.broadcast(mine)
        for step, _ in self._history.improvements:
            self._pin(step)
        if self.exhausted:
            say(plan.world, "validation.patience has ended this run; with a larger one it goes on")

    @property
    def exhausted(self) -> bool:
        """Whether none of the last `validation.patience` validations was better than the best."""
        patience = self._plan.config.validation.patience
        return 0 < patience <= self._history.since_best

    def checks(self) -> StepChecks:
        """Return the checks within the next step."""
        guard = self._guard
        return StepChecks(
            leaving=self._agreement.leaving,
            refused=guard.is_spike if guard.looks_for_spikes else None,
        )

    def vote(self, step: int, batches: Batches, result: StepResult) -> Votes:
        """Exchange what all ranks must know after a step."""
        votes = self._agreement.vote(step, batches, result)
        if votes.applied:
            self._guard.step_was_good()
        return votes

    def bad_numbers(
        self, state: TrainState, batches: Batches, first: StepResult, again: StepResult
    ) -> None:
        """Record a step whose numbers were bad."""
        self._guard.step_was_bad(state, batches, first, again)

    def counted(self, votes: Votes) -> None:
        """Note the rows of a step that was counted."""
        self._log.rows(votes)

    def log(self, state: TrainState, result: StepResult) -> None:
        """Report the step just counted."""
        self._log.step(state, result)

    def save(self, state: TrainState) -> None:
        """Begin to write a checkpoint; training continues meanwhile."""
        self._log.flush()
        self._log.clock.exclude(self._saver.begin(state))
        self._agreement.resume_clock()

    def validate(self, state: TrainState) -> float | None:
        """Score the held-out rows and continue the fixed prompts, unless the run must stop."""
        begin = time.monotonic()
        found = self._validator.validate()
        if found is None:
            say(
                self._plan.world,
                f"skipping validation at step {state.step}: the run is stopping",
            )
            if state.step < self._plan.steps:
                self._agreement.announce_stop(state.step)
            return None
        self._log.validation(state, found)
        self._log.clock.exclude(time.monotonic() - begin)
        self._agreement.resume_clock(validated=True)
        return found.loss

    def judge(self, state: TrainState, loss: float) -> None:
        """Compare a validation loss with the best one; save and pin the checkpoint if it is lower.

        Nothing is written unless `checkpoint.keep_best` or `validation.patience` asks for it.
        """
        config = self._plan.config
        if not (config.checkpoint.keep_best or config.validation.patience):
            return
        self._history = self._history.after(state.step, loss)
        if self._plan.world.is_main:
            with self._log.tolerant("the best checkpoint"):
                write_history(config.output, self._history)
        best = self._history.improvements[-1:]
        if (state.step, loss) in best:
            self._pin(state.step)
            if config.checkpoint.keep_best and not self._saver.has(state.step):
                self.save(state)
        elif self.exhausted:
            lowest = f"below {best[0][1]:.4f} of step {best[0][0]}" if best else "to any number"
            say(
                self._plan.world,
                f"the validation loss has not fallen {lowest} for {self._history.since_best} "
                "validations (validation.patience): the run ends",
            )

    def _pin(self, step: int) -> None:
        if self._plan.config.checkpoint.keep_best:
            self._saver.pin(step)

    def finish(self, state: TrainState, *, stopped: bool) -> None:
        """Save the last state; try for longer at the end of a run than after a stop.

        Raises:
            RunError: It could not be saved.
        """
        self._log.flush()
        self._saver.complete()
        if state.step == self._first_step:
            return  # no step was taken
        if stopped:
            saved = self._saver.save_now(state, attempts=3, pause=2.0, give_up=lambda: False)
        else:
            give_up = self._agreement.gives_up_saving
            saved = self._saver.save_now(state, attempts=60, pause=10.0, give_up=give_up)
        if not saved:
            raise RunError(
                Exit.NOT_SAVED,
                f"step {state.step} could not be saved: {self._saver.failure}. Make room on the "
                f"disk of {self._plan.config.output} and start again: the run continues from the "
                "newest complete checkpoint there",
            )

    def close(self) -> None:
        """Close the files of the run."""
        self._saver.close()
        self._log.close()
