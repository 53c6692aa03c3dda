"""What happens around the steps of every act that trains: log, save, validate, stop."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gpt2zh.checkpoint.saver import Saver
from gpt2zh.config.errors import RunError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LogConfig
from gpt2zh.cost.cards import peak_flops
from gpt2zh.data.batch import Batch
from gpt2zh.pages.numbers import duration
from gpt2zh.plan.run_plan import Plan
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.logs import say, warn
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run import bad_steps
from gpt2zh.run.spikes import z_score
from gpt2zh.run.telemetry import Clock, RowLog, RunLog, peak_memory
from gpt2zh.run.validate import Validator
from gpt2zh.train.engine import loss_scale
from gpt2zh.train.loop import Due
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult

_MOST_INCIDENTS = 1000  # kept in a checkpoint; metrics.jsonl has all
_LOOK_EVERY = 1.0  # seconds between two looks within a step for whether to leave it


class RunHooks:
    """The hooks of a run folder; see `train.loop.Hooks` for what each one is."""

    def __init__(
        self,
        engine: Any,
        plan: Plan,
        state: TrainState,
        *,
        saver: Saver,
        control: ControlGroup,
        stop: StopRequest,
        watch: Watch,
    ) -> None:
        """Take what the hooks act on.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            state: Progress, as this start found it.
            saver: Writes the checkpoints.
            control: For agreeing with the other ranks.
            stop: Whether this process was asked to stop.
            watch: Told what is done.
        """
        self._engine = engine
        self._plan = plan
        self._state = state
        self._saver = saver
        self._control = control
        self._stop = stop
        self._watch = watch
        self._first_step = state.step
        run, is_main = plan.config.output, self._world.is_main
        self._log_file = RunLog(run, resumed_at=state.step) if is_main else None
        self._row_log = RowLog(run, rows=state.rows) if is_main and self._log.rows else None
        self._peak_flops = _peak_flops(engine.device, plan)
        self._failed: set[str] = set()
        self._clock = Clock()
        self._logged_tokens = state.tokens
        self._started = self._validated_at = self._step_at = time.monotonic()
        self._look_every = 1  # micro-batches
        self._loss: float | None = None  # of the step under way, where spikes are looked for
        self._before_streak: TrainState | None = None
        self._validator = Validator(
            engine, plan, control=control, shall_stop=self._shall_stop, watch=watch
        )
        self.stopped = False

    @property
    def _world(self) -> World:
        return self._plan.world

    @property
    def _log(self) -> LogConfig:
        return self._plan.config.log

    def _is_over_time(self, done_here: int) -> bool:
        """Whether --stop-after is over.

        The clock of rank 0 counts, which also tells why we stop: the ranks begin some milliseconds
        apart, and another one would end the run for a reason that rank 0 does not know yet.
        """
        seconds = time.monotonic() - self._started if self._world.is_main else 0.0
        return self._plan.options.stop_after.over(step=done_here, seconds=seconds)

    def _shall_stop(self) -> bool:
        """Whether this rank knows a reason to leave."""
        return self._stop.asked() or self._is_over_time(self._state.step - self._first_step)

    def leaving(self, micro_batch: int) -> bool:
        """Ask about once a second; clocks and signals differ between ranks, the answer must not."""
        if micro_batch % self._look_every:
            return False
        self._watch.mark("asking whether to leave the step")
        if self._control.any(self._shall_stop())[0]:
            self._stopping(self._state.step)
        return self.stopped

    def _stopping(self, step: int) -> None:
        self.stopped = True
        limit = self._is_over_time(step - self._first_step)
        why = self._stop.reason or ("stop-after" if limit else "another rank was asked to")
        say(self._world, f"stopping at step {step} ({why})")

    def refused(self) -> Callable[[float], bool] | None:
        """Refuse spikes, if they shall be looked for."""
        guard = self._plan.config.guard
        if not guard.spike:
            return None

        def is_spike(loss: float) -> bool:
            self._loss = loss
            return z_score(loss, self._state.recent) > guard.spike

        return is_spike

    def agree(self, step: int, batches: Sequence[Batch], result: StepResult) -> Due:
        """Decide with all ranks, in one exchange of everything that they must know."""
        self._watch.mark("agreeing on what follows the step")
        now = time.monotonic()
        micro_seconds = (now - self._step_at) / len(batches)
        self._step_at = now
        table = self._control.exchange(
            [
                result.applied,
                self._stop.asked(),
                self._is_over_time(step - self._first_step),
                self._saver.is_due(step),
                self._plan.config.validation.every.due(step=step, seconds=now - self._validated_at),
                self._saver.busy,
                round(1e6 * micro_seconds),
                *np.concatenate([batch.numbers for batch in batches]),
            ]
        )
        applied, numbers = table[:, 0].astype(bool), table[:, 7:].reshape(-1)
        if applied.any() != applied.all():
            raise RuntimeError(
                f"step {step} updated the weights on the ranks {np.flatnonzero(applied).tolist()} "
                "only: the memory of one of the machines errs; start again from the last checkpoint"
            )
        self._stop.has_work = True
        asked, limited, save, validate, busy = (bool(column.any()) for column in table.T[1:6])
        self._look_every = max(1, math.ceil(1e6 * _LOOK_EVERY / max(int(table[:, 6].max()), 1)))
        if not busy:
            self._saver.complete()
        if applied[0]:
            self._learnt()
        last = step == self._plan.steps
        if (asked or limited) and not last:
            self._stopping(step)
        log = step % self._log.every == 0 or step == 1
        return Due(
            applied=bool(applied[0]),
            numbers=numbers,
            log=log or last or self.stopped,
            save=save or last or self.stopped,
            # Whoever sent a signal wants us gone within seconds: no validation then.
            validate=(validate or last) and not self.stopped and bool(self._plan.held_out),
            stop=self.stopped or last,
        )

    def _learnt(self) -> None:
        """Note that a step was good."""
        self._state.bad_streak = 0
        if self._loss is not None:
            window = self._plan.config.guard.spike_window
            self._state.recent = [*self._state.recent, self._loss][-window:]

    def bad_numbers(
        self, state: TrainState, batches: Sequence[Batch], first: StepResult, again: StepResult
    ) -> None:
        """Record the step, and end the run when there were too many of them in a row."""
        outcome = "good" if again.applied else again.fault() or "good"
        mine = [int(number) for batch in batches for number in batch.numbers]
        told = self._control.gather((bad_steps.suspects(batches, first), mine))
        rows = [n for found, _ in told for n in found] or [n for _, every in told for n in every]
        bad = bad_steps.BadStep(state.step + 1, first.fault() or "loss", outcome, tuple(rows))
        if state.bad_streak == 0:
            self._before_streak = copy.deepcopy(state)
        state.incidents = [*state.incidents, bad.ledger][-_MOST_INCIDENTS:]
        if self._log_file is not None:
            with self._tolerant("bad steps"):
                self._log_file.event(bad.step, "bad_step", bad.ledger, chain=state.chain)
                path = bad_steps.write(bad, self._plan)
                warn(
                    self._world,
                    f"step {bad.step}: the {bad.fault} is bad; {bad.verdict}. Its {len(rows)} rows "
                    f"and their text are in {path}; --skip-rows {path} leaves them out",
                )
        if outcome == "good":
            return
        state.bad_streak += 1
        if state.bad_streak >= self._plan.config.guard.bad_steps:
            self._give_up(state)

    def _give_up(self, state: TrainState) -> None:
        """Save the state before the bad steps, which is also that of the weights, and end."""
        good = self._before_streak
        if good is not None and good.step > self._first_step:
            self._saver.save_now(good, attempts=3, pause=2.0, give_up=lambda: False)
        raise RunError(
            Exit.BAD_NUMBERS,
            f"{state.bad_streak} steps in a row had bad numbers (guard.bad_steps), up to step "
            f"{state.step + 1}; the weights are as before them. Look at the text of their rows in "
            f"{self._plan.config.output / bad_steps.FOLDER}; then start again with --skip-rows, "
            "with a lower optimizer.lr, or with --resume and an older checkpoint",
        )

    def counted(self, due: Due) -> None:
        """Write the row numbers, if they shall be written."""
        if self._row_log is not None:
            with self._tolerant("the row numbers"):
                self._row_log.write(due.numbers)

    def log(self, state: TrainState, result: StepResult) -> None:
        """Write the loss of this step and the speed since the last line."""
        loss = result.loss()  # waits for the GPU: once per line, not per step
        if self._log_file is None:
            return
        seconds = self._clock.read()
        plan = self._plan
        speed = (state.tokens - self._logged_tokens) / seconds
        left = (plan.steps - state.step) * plan.tokens_per_step
        flops = plan.flops_per_token_at(state.step)
        mfu = speed * flops / self._peak_flops if self._peak_flops else None
        norm = None if result.gradient_norm is None else float(result.gradient_norm)
        lr = plan.learning_rate(state.step)
        epochs = {f"epoch/{name}": times for name, times in plan.epochs(state.rows).items()}
        train = plan.config.train
        eta = duration(left / speed)
        self._logged_tokens = state.tokens
        with self._tolerant("the figures"):
            self._log_file.scalars(
                state.step,
                "train",
                {
                    "loss": loss,
                    "lr": lr,
                    "gradient_norm": norm,
                    "tokens_per_second": speed,
                    "mfu": mfu,
                    "loss_scale": loss_scale(self._engine),
                    "memory_gib": peak_memory(self._engine.device),
                    "epoch": state.rows / plan.training_rows,
                    **(epochs if len(epochs) > 1 else {}),
                    "length": plan.length_at(state.step) if train.sequence_length_warmup else None,
                    "tokens": state.tokens,
                    "rows": state.rows,
                },
                chain=state.chain,
            )
        print(
            f"step {state.step}/{plan.steps} | loss {loss:.4f} | lr {lr:.2e}"
            + (f" | grad {norm:.2f}" if norm is not None else "")
            + f" | {speed:,.0f} tok/s"
            + (f" | mfu {mfu:.1%}" if mfu else "")
            + f" | eta {eta}",
            flush=True,
        )
        if state.step == 1 and (odd := first_loss_warning(loss, plan.vocabulary)):
            warn(self._world, odd)

    def save(self, state: TrainState) -> None:
        """Begin to write a checkpoint; the steps go on meanwhile."""
        if self._log_file is not None:
            with self._tolerant("the figures"):
                self._log_file.flush()
        self._clock.exclude(self._saver.begin(state))
        self._step_at = time.monotonic()

    def finish(self, state: TrainState) -> None:
        """Write what is not written yet: longer at the end of a run than when it was stopped.

        Raises:
            RunError: It could not be written.
        """
        if self._log_file is not None:
            with self._tolerant("the figures"):
                self._log_file.flush()
        self._saver.complete()
        if state.step == self._first_step:
            return  # no step was taken
        if self.stopped:
            saved = self._saver.save_now(state, attempts=3, pause=2.0, give_up=lambda: False)
        else:
            saved = self._saver.save_now(
                state,
                attempts=60,
                pause=10.0,
                give_up=lambda: self._control.any(self._stop.asked())[0],
            )
        if not saved:
            raise RunError(
                Exit.NOT_SAVED,
                f"step {state.step} could not be saved: {self._saver.failure}. Make room on the "
                f"disk of {self._plan.config.output} and start again: the run continues from the "
                "newest complete checkpoint there",
            )

    def validate(self, state: TrainState) -> None:
        """Score the held-out rows and continue the fixed prompts, unless the run shall stop."""
        begin = time.monotonic()
        found = self._validator.look()
        if found is None:
            say(self._world, f"validation at step {state.step} is left out, for the run shall stop")
            if state.step < self._plan.steps:
                self._stopping(state.step)
            return
        say(self._world, f"validation at step {state.step} | " + "\n".join(found.lines))
        if self._log_file is not None:
            with self._tolerant("the figures"):
                figures = found.figures
                self._log_file.scalars(state.step, "validation", figures, chain=state.chain)
                self._log_file.samples(state.step, found.texts, chain=state.chain)
        self._validated_at = self._step_at = time.monotonic()
        self._clock.exclude(self._validated_at - begin)

    @contextlib.contextmanager
    def _tolerant(self, what: str) -> Iterator[None]:
        """Go on when something beside the checkpoint cannot be written; say so once."""
        try:
            yield
        except OSError as error:
            if what not in self._failed:
                self._failed.add(what)
                warn(self._world, f"{what} cannot be written: {error}; training goes on")

    def close(self) -> None:
        """Close the files of the run."""
        self._saver.close()
        for file in (self._log_file, self._row_log):
            if file is not None:
                file.close()


def _peak_flops(device: torch.device, plan: Plan) -> float | None:
    """The peak of all GPUs in the precision of this run; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    one = peak_flops(name, plan.config.train.precision)
    return one * plan.world.size if one else None


def first_loss_warning(loss: float, vocabulary: int) -> str | None:
    """What is odd about the loss of fresh weights, which should be about ln(vocabulary).

    Args:
        loss: Nats per token of the first step.
        vocabulary: Tokens that the model chooses from.
    """
    expected = math.log(vocabulary)
    if abs(loss - expected) <= 0.1 * expected:
        return None
    return (
        f"the first loss is {loss:.2f}, but fresh weights should give about "
        f"ln({vocabulary}) = {expected:.2f}; check the data and its tokenizer"
    )
