"""What happens around the steps of every act that trains: log, save, validate, stop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import torch

from gpt2zh.config.schema import CheckpointConfig, LogConfig, ValidationConfig
from gpt2zh.data.loader import validation_batches
from gpt2zh.dist.collectives import Control, sum_over_ranks
from gpt2zh.dist.logs import say, warn
from gpt2zh.dist.stop import StopRequest
from gpt2zh.dist.world import World
from gpt2zh.evaluation.perplexity import Score, evaluate, joined
from gpt2zh.generation.writer import Writer
from gpt2zh.model import cost
from gpt2zh.recipes.corpora import rows_each
from gpt2zh.recipes.plan import Plan
from gpt2zh.train import checkpoint, folder
from gpt2zh.train.engine import hidden_model, loss_scale
from gpt2zh.train.loop import Due
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult
from gpt2zh.train.telemetry import Clock, RunLog, duration_text, peak_memory


class RunHooks:
    """The hooks of a run folder; see `train.loop.Hooks` for what each one is."""

    def __init__(
        self,
        engine: Any,
        plan: Plan,
        *,
        facts: checkpoint.RunFacts,
        control: Control,
        stop: StopRequest,
        first_step: int,
    ) -> None:
        """Take what the hooks act on.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            facts: What every checkpoint carries.
            control: For agreeing with the other ranks.
            stop: Whether this process was asked to stop.
            first_step: Step from which this start goes on.
        """
        self._engine = engine
        self._plan = plan
        self._facts = facts
        self._control = control
        self._stop = stop
        self._first_step = first_step
        self._log_file = (
            RunLog(plan.config.output, resumed_at=first_step) if self._world.is_main else None
        )
        device = engine.device
        one = cost.peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._peak_flops = one * plan.world.size if one else None
        self._failed: set[str] = set()
        self._clock = Clock()
        self._logged_step = first_step
        self._started = self._saved_at = self._validated_at = time.monotonic()
        self.stopped = False

    @property
    def _world(self) -> World:
        return self._plan.world

    @property
    def _checkpoint(self) -> CheckpointConfig:
        return self._plan.config.checkpoint

    @property
    def _validation(self) -> ValidationConfig:
        return self._plan.config.validation

    @property
    def _log(self) -> LogConfig:
        return self._plan.config.log

    def due(self, state: TrainState) -> Due:
        """Decide with all ranks; clocks and signals differ between them, the answer must not."""
        now = time.monotonic()
        done_here = state.step - self._first_step
        asked, limited, save, validate = self._control.any(
            self._stop.asked(),
            self._plan.options.stop_after.over(step=done_here, seconds=now - self._started),
            self._checkpoint.every.due(step=state.step, seconds=now - self._saved_at),
            self._validation.every.due(step=state.step, seconds=now - self._validated_at),
        )
        last = state.step == self._plan.steps
        self.stopped = (asked or limited) and not last
        if self.stopped:
            why = self._stop.reason or ("another rank was asked to" if asked else "stop-after")
            say(self._world, f"stopping at step {state.step} ({why})")
        log = state.step % self._log.every == 0 or state.step == 1
        return Due(
            log=log or last or self.stopped,
            save=save or last or self.stopped,
            # Whoever sent a signal wants us gone within seconds: no validation then.
            validate=(validate or last) and not self.stopped and bool(self._plan.held_out),
            stop=self.stopped or last,
        )

    def log(self, state: TrainState, result: StepResult) -> None:
        """Write the loss of this step and the speed since the last line."""
        nats = sum_over_ranks(result.nats.clone())
        if self._log_file is None:
            return
        loss = (nats / result.targets).item()  # waits for the GPU: once per line, not per step
        steps = state.step - self._logged_step
        seconds = self._clock.read()
        self._logged_step = state.step
        plan = self._plan
        speed = steps * plan.tokens_per_step / seconds
        flops = plan.flops_per_token_at(state.step)
        mfu = speed * flops / self._peak_flops if self._peak_flops else None
        norm = None if result.gradient_norm is None else float(result.gradient_norm)
        lr = plan.learning_rate(state.step)
        epochs = {f"epoch/{name}": times for name, times in plan.epochs(state.rows).items()}
        curriculum = plan.config.train.curriculum
        eta = duration_text((plan.steps - state.step) * seconds / steps)
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
                    "length": plan.length_at(state.step) if curriculum.stages else None,
                    "tokens": state.tokens,
                },
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
        """Write a checkpoint and delete the ones that need not be kept."""
        begin = time.monotonic()
        if self._log_file is not None:
            with self._tolerant("the figures"):
                self._log_file.flush()
        try:
            path = checkpoint.save(
                self._engine,
                state,
                self._plan.config.output,
                facts=self._facts,
                world=self._world,
                control=self._control,
            )
        except OSError as error:
            if self.stopped or state.step == self._plan.steps:
                raise  # nothing comes after that could save it
            warn(self._world, f"step {state.step} could not be saved: {error}; training goes on")
            self._saved_at = time.monotonic()  # the next try after a whole period, if in minutes
            return
        if self._world.is_main:
            with self._tolerant("old checkpoints"):
                folder.prune(
                    self._plan.config.output,
                    keep_last=self._checkpoint.keep_last,
                    keep_every=self._checkpoint.keep_every,
                )
        seconds = time.monotonic() - begin
        say(self._world, f"saved {path} ({seconds:.1f} s)")
        self._clock.exclude(seconds)
        self._saved_at = time.monotonic()

    def validate(self, state: TrainState) -> None:
        """Score the held-out rows and continue the fixed prompts."""
        plan = self._plan
        begin = time.monotonic()
        self._engine.eval()
        scores = self._scores()
        score = joined(list(scores.values()))
        texts = self._samples()
        say(
            self._world,
            f"validation at step {state.step} | loss {score.loss:.4f} | "
            f"perplexity {score.perplexity:.1f} | {score.bits_per_character:.3f} bits/character",
        )
        figures: dict[str, float | None] = {
            "loss": score.loss,
            "perplexity": score.perplexity,
            "bits_per_character": score.bits_per_character,
        }
        for name, part in scores.items() if len(plan.corpora) > 1 else ():
            say(
                self._world,
                f"  {name} | loss {part.loss:.4f} | {part.bits_per_character:.3f} bits/character",
            )
            figures[f"loss/{name}"] = part.loss
            figures[f"bits_per_character/{name}"] = part.bits_per_character
        for prompt, text in texts.items():
            say(self._world, f"  {prompt}{text}".replace("\n", "\n  "))
        if self._log_file is not None:
            with self._tolerant("the figures"):
                self._log_file.scalars(state.step, "validation", figures)
                self._log_file.samples(state.step, texts)
        self._validated_at = time.monotonic()
        self._clock.exclude(self._validated_at - begin)

    def _scores(self) -> dict[str, Score]:
        """The score on the held-out text of each corpus, by its name."""
        plan = self._plan
        found = {}
        sets = [(corpus, shards) for corpus in plan.held_out if (shards := corpus.held_out)]
        limits = rows_each(self._validation.rows, [shards.rows for _, shards in sets])
        for (corpus, shards), limit in zip(sets, limits, strict=True):
            found[corpus.name] = evaluate(
                self._engine,
                validation_batches(
                    shards,
                    limit=limit,
                    micro_batch=plan.config.train.micro_batch,
                    pad_id=plan.tokenizer.pad_id,
                    world=self._world,
                ),
                device=self._engine.device,
                tokens=corpus.validation.tokens,
                characters=corpus.validation.characters,
            )
        return found

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
        if self._log_file is not None:
            self._log_file.close()

    def _samples(self) -> dict[str, str]:
        settings = self._validation
        if not settings.sample_tokens or not settings.prompts:
            return {}
        writer = Writer(hidden_model(self._engine), self._facts.tokenizer)
        sharded = self._engine.zero_optimization_stage() == 3
        written = writer.samples(
            settings.prompts, tokens=settings.sample_tokens, synced=sharded and self._world.size > 1
        )
        return dict(zip(settings.prompts, written, strict=True))


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
