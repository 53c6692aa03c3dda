"""Validation: held-out rows scored, fixed prompts continued, and left when the run shall stop."""

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
    """What one validation found."""

    loss: float
    """Nats per token over all held-out text."""
    lines: list[str]
    """For a reader; the first goes on after the step's number."""
    figures: dict[str, float | None]
    """By name, of all corpora and of each one."""
    texts: dict[str, str]
    """Continuations by prompt."""


class Validator:
    """Measures the model of an engine as a plan says."""

    def __init__(
        self,
        engine: Any,
        plan: RunPlan,
        *,
        control: ControlGroup,
        should_stop: Callable[[], bool],
        watch: Watch,
    ) -> None:
        """Take what is measured, and what tells to leave.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            control: For agreeing with the other ranks.
            should_stop: Whether this rank knows a reason to leave.
            watch: Told what is done.
        """
        self._engine = engine
        self._plan = plan
        self._control = control
        self._should_stop = should_stop
        self._watch = watch

    def look(self) -> Validation | None:
        """Score and write; all ranks together. None if some rank was asked to stop meanwhile."""
        self._engine.eval()
        # Compiling the model once more, for passes without gradients, would take longer than this.
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
    """Share out `limit` rows (0: all) over data sets by their sizes, at least one row for each."""
    if not limit:
        return list(rows)
    return [max(1, round(limit * mine / sum(rows))) for mine in rows]
