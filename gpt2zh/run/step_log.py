"""Report the steps of a run: a console line, metrics.jsonl, TensorBoard and the row numbers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch

from gpt2zh.cost.cards import peak_flops
from gpt2zh.pages.console import command
from gpt2zh.pages.numbers import duration, plural
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.logs import say, warn
from gpt2zh.run import bad_steps
from gpt2zh.run.bad_steps import BadStep
from gpt2zh.run.telemetry import Clock, RowLog, RunLog, read_peak_memory
from gpt2zh.run.validate import Validation
from gpt2zh.train.engine import get_loss_scale
from gpt2zh.train.loop import Votes
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult


class StepLog:
    """Reports on the main rank; a file that cannot be written never ends a run."""

    def __init__(self, engine: Any, plan: RunPlan, state: TrainState) -> None:
        """Open the files of the run.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            state: Progress at this start.
        """
        self._engine = engine
        self._plan = plan
        run, is_main = plan.config.output, plan.world.is_main
        self._failed: set[str] = set()
        self._file = RunLog(run, resumed_at=state.step) if is_main else None
        for fault in self._file.faults if self._file is not None else ():
            warn(plan.world, f"{fault}. Training continues without this file")
        self._row_log: RowLog | None = None
        if is_main and plan.config.log.rows:
            with self.tolerant("the row numbers"):
                self._row_log = RowLog(run, rows=state.rows)
        self._peak_flops = _peak_flops(engine.device, plan)
        self.clock = Clock()
        """Measures the time of the steps between two log lines."""
        self._logged_tokens, self._logged_rows = state.tokens, state.rows

    def rows(self, votes: Votes) -> None:
        """Write the row numbers of a step, if the config asks for them."""
        if self._row_log is not None:
            with self.tolerant("the row numbers"):
                self._row_log.write(votes.numbers)

    def step(self, state: TrainState, result: StepResult) -> None:
        """Write the loss of this step and the speed since the last line."""
        loss = result.loss()  # waits for the GPU: once per line, not per step
        if self._file is None:
            return
        seconds, plan = self.clock.read(), self._plan
        speed = (state.tokens - self._logged_tokens) / seconds
        rows_left = (plan.steps - state.step) * plan.config.train.global_batch
        eta = duration(rows_left * seconds / (state.rows - self._logged_rows))
        self._logged_tokens, self._logged_rows = state.tokens, state.rows
        flops = plan.flops_per_token_at(state.step)
        mfu = speed * flops / self._peak_flops if self._peak_flops else None
        norm = None if result.gradient_norm is None else float(result.gradient_norm)
        figures = self._figures(state) | {
            "loss": loss,
            "gradient_norm": norm,
            "tokens_per_second": speed,
            "mfu": mfu,
        }
        with self.tolerant("the figures"):
            self._file.scalars(state.step, "train", figures, chain=state.chain)
        print(
            f"step {state.step}/{plan.steps} | loss {loss:.4f} | lr {figures['lr']:.2e}"
            + (f" | grad {norm:.2f}" if norm is not None else "")
            + f" | {speed:,.0f} tok/s"
            + (f" | mfu {mfu:.1%}" if mfu else "")
            + f" | eta {eta}",
            flush=True,
        )
        if state.step == 1 and (odd := check_first_loss(loss, plan.vocabulary)):
            warn(plan.world, odd)

    def _figures(self, state: TrainState) -> dict[str, float | None]:
        """Return the figures that do not come from the step itself."""
        plan = self._plan
        epochs = {f"epoch/{name}": times for name, times in plan.data.epochs(state.rows).items()}
        warmup = plan.config.train.sequence_length_warmup
        return {
            "lr": plan.learning_rate(state.step),
            "loss_scale": get_loss_scale(self._engine),
            "memory_gib": read_peak_memory(self._engine.device),
            "epoch": state.rows / plan.data.rows,
            **(epochs if len(epochs) > 1 else {}),
            "length": plan.length_at(state.step) if warmup else None,
            "tokens": state.tokens,
            "rows": state.rows,
        }

    def bad_step(self, bad: BadStep, state: TrainState) -> None:
        """Write a step with bad numbers, and the text of its rows to a file of its own."""
        if self._file is None:
            return
        with self.tolerant("bad steps"):
            self._file.event(bad.step, "bad_step", bad.record, chain=state.chain)
            path = bad_steps.write(bad, self._plan)
            warn(
                self._plan.world,
                f"step {bad.step} has bad numbers ({bad.fault}): {bad.verdict}. Its "
                f"{plural(len(bad.rows), 'row')} and their text are in {path}; "
                f"{command('--skip-rows', path)} excludes them",
            )

    def validation(self, state: TrainState, found: Validation) -> None:
        """Write the results of a validation."""
        say(self._plan.world, f"validation at step {state.step} | " + "\n".join(found.lines))
        if self._file is not None:
            with self.tolerant("the figures"):
                self._file.scalars(state.step, "validation", found.figures, chain=state.chain)
                self._file.samples(state.step, found.texts, chain=state.chain)

    def flush(self) -> None:
        """Flush the figures to disk."""
        if self._file is not None:
            with self.tolerant("the figures"):
                self._file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._row_log):
            if file is not None:
                file.close()

    @contextlib.contextmanager
    def tolerant(self, what: str) -> Iterator[None]:
        """Continue if something other than a checkpoint cannot be written; warn once."""
        try:
            yield
        except OSError as error:
            if what not in self._failed:
                self._failed.add(what)
                warn(self._plan.world, f"{what} cannot be written: {error}; training continues")


def _peak_flops(device: torch.device, plan: RunPlan) -> float | None:
    """Return the peak FLOP/s of all GPUs in the precision of this run; None if unknown."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    one = peak_flops(name, plan.config.train.precision)
    return one * plan.world.size if one else None


def check_first_loss(loss: float, vocabulary: int) -> str | None:
    """Return a warning if the loss of fresh weights is not about ln(vocabulary), else None.

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
