"""Validate: score held-out rows and continue fixed prompts, unless the run must stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpt2zh.data.batch import Batch
from gpt2zh.data.loader import validation_batches
from gpt2zh.evaluation.perplexity import Score, combine_scores, evaluate
from gpt2zh.generation.stepping import Stepping
from gpt2zh.generation.text import TextGenerator
from gpt2zh.model.attention import plain_attention
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.control import ControlGroup, sum_over_ranks
from gpt2zh.ranks.watch import Watch
from gpt2zh.train.engine import unwrap_model


@dataclass(frozen=True)
class Validation:
    """The results of one validation."""

    loss: float
    """Nats per token over all held-out text."""
    lines: list[str]
    """Lines for the console; the first one follows the step number."""
    figures: dict[str, float | None]
    """Figures by name, of all corpora together and of each one."""
    texts: dict[str, str]
    """Continuations by prompt."""


class Validator:
    """Scores the model of an engine as a plan says."""

    def __init__(
        self,
        engine: Any,
        plan: RunPlan,
        *,
        control: ControlGroup,
        should_stop: Callable[[], bool],
        watch: Watch,
    ) -> None:
        """Take what is scored, and how to notice that the run must stop.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            control: Lets all ranks stop together.
            should_stop: Returns whether this rank has a reason to stop.
            watch: Gets a mark at each phase.
        """
        self._engine = engine
        self._plan = plan
        self._control = control
        self._should_stop = should_stop
        self._watch = watch

    def validate(self) -> Validation | None:
        """Score and generate; all ranks call it. None if a rank was asked to stop meanwhile."""
        self._engine.eval()
        # Compiling again, without gradients and for the last batch's shape, would take longer.
        with torch.compiler.set_stance("force_eager"):
            scores = self._scores()
        if scores is None:
            return None
        texts = self._samples()
        if self._asked():
            return None
        score = combine_scores(list(scores.values()))
        lines = [
            f"loss {score.loss:.4f} | perplexity {score.perplexity:.1f} | "
            f"{score.bits_per_character:.3f} bits/character"
        ]
        figures: dict[str, float | None] = {
            "loss": score.loss,
            "perplexity": score.perplexity,
            "bits_per_character": score.bits_per_character,
        }
        for name, part in scores.items() if len(scores) > 1 else ():
            bits = part.bits_per_character
            lines.append(f"  {name} | loss {part.loss:.4f} | {bits:.3f} bits/character")
            figures[f"loss/{name}"] = part.loss
            figures[f"bits_per_character/{name}"] = bits
        lines += [f"  {prompt}{text}".replace("\n", "\n  ") for prompt, text in texts.items()]
        return Validation(score.loss, lines, figures, texts)

    def _asked(self) -> bool:
        return self._control.any(self._should_stop())[0]

    def _scores(self) -> dict[str, Score] | None:
        """Return the score on the held-out text of each corpus, by name; None to stop."""
        plan, device = self._plan, self._engine.device
        found: dict[str, Score] = {}
        parts = plan.data.held_out
        limits = share_rows(plan.config.validation.rows, [part.rows for part in parts])
        left = False

        def until_stop(batches: Iterable[Batch[torch.Tensor]]) -> Iterator[Batch[torch.Tensor]]:
            nonlocal left
            for number, batch in enumerate(batches, start=1):
                self._watch.mark(f"validating batch {number}")
                left = left or self._asked()
                if left:
                    return
                yield batch

        for part, limit in zip(parts, limits, strict=True):
            batches = validation_batches(
                part, limit=limit, micro_batch=plan.micro_batch, world=plan.world, device=device
            )
            found[part.name] = evaluate(
                self._engine,
                until_stop(batches),
                device=device,
                tokens=part.tokens,
                characters=part.characters,
                reduce=sum_over_ranks,
            )
            if left:
                return None
        return found

    def _samples(self) -> dict[str, str]:
        settings = self._plan.config.validation
        if not settings.sample_tokens or not settings.prompts:
            return {}
        self._watch.mark("writing samples")
        model = unwrap_model(self._engine)
        sharded = self._engine.zero_optimization_stage() == 3
        stepping = Stepping(
            synced=sharded and self._plan.world.size > 1, should_stop=self._should_stop
        )
        with plain_attention(model):
            written = TextGenerator(model, self._plan.data.tokenizer).write_samples(
                settings.prompts, tokens=settings.sample_tokens, stepping=stepping
            )
        return dict(zip(settings.prompts, written, strict=True))


def share_rows(limit: int, rows: Sequence[int]) -> list[int]:
    """Divide `limit` rows (0: all) among data sets by size, with at least one row for each."""
    if not limit:
        return list(rows)
    return [max(1, round(limit * mine / sum(rows))) for mine in rows]
