"""Validation: held-out rows scored, fixed prompts continued, and left when the run shall stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from gpt2zh.data.batch import Batch
from gpt2zh.data.loader import validation_batches
from gpt2zh.dist.collectives import Control, sum_over_ranks
from gpt2zh.dist.watch import Watch
from gpt2zh.evaluation.perplexity import Score, combine_scores, evaluate
from gpt2zh.generation.stepping import Stepping
from gpt2zh.generation.text import TextGenerator
from gpt2zh.model.attention import plain_attention
from gpt2zh.recipes.corpora import rows_each
from gpt2zh.recipes.plan import Plan
from gpt2zh.train.engine import hidden_model


@dataclass(frozen=True)
class Validation:
    """What one validation found."""

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
        plan: Plan,
        *,
        control: Control,
        shall_stop: Callable[[], bool],
        watch: Watch,
    ) -> None:
        """Take what is measured, and what tells to leave.

        Args:
            engine: The DeepSpeed engine.
            plan: What this run does.
            control: For agreeing with the other ranks.
            shall_stop: Whether this rank knows a reason to leave.
            watch: Told what is done.
        """
        self._engine = engine
        self._plan = plan
        self._control = control
        self._shall_stop = shall_stop
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
        for name, part in scores.items() if len(self._plan.corpora) > 1 else ():
            bits = part.bits_per_character
            lines.append(f"  {name} | loss {part.loss:.4f} | {bits:.3f} bits/character")
            figures[f"loss/{name}"] = part.loss
            figures[f"bits_per_character/{name}"] = bits
        lines += [f"  {prompt}{text}".replace("\n", "\n  ") for prompt, text in texts.items()]
        return Validation(lines, figures, texts)

    def _asked(self) -> bool:
        return self._control.any(self._shall_stop())[0]

    def _scores(self) -> dict[str, Score] | None:
        """The score on the held-out text of each corpus, by its name; None if we shall stop."""
        plan = self._plan
        found = {}
        sets = [(corpus, shards) for corpus in plan.held_out if (shards := corpus.held_out)]
        limits = rows_each(plan.config.validation.rows, [shards.rows for _, shards in sets])
        left = False

        def until_stop(batches: Iterable[Batch]) -> Iterator[Batch]:
            nonlocal left
            for number, batch in enumerate(batches, start=1):
                self._watch.mark(f"validating batch {number}")
                left = left or self._asked()
                if left:
                    return
                yield batch

        for (corpus, shards), limit in zip(sets, limits, strict=True):
            batches = validation_batches(
                shards,
                limit=limit,
                micro_batch=plan.micro_batch,
                pad_id=plan.tokenizer.pad_id,
                world=plan.world,
            )
            found[corpus.name] = evaluate(
                self._engine,
                until_stop(batches),
                device=self._engine.device,
                tokens=corpus.validation.tokens,
                characters=corpus.validation.characters,
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
        model = hidden_model(self._engine)
        sharded = self._engine.zero_optimization_stage() == 3
        with plain_attention(model):
            written = TextGenerator(model, self._plan.tokenizer).write_samples(
                settings.prompts,
                tokens=settings.sample_tokens,
                stepping=Stepping(
                    synced=sharded and self._plan.world.size > 1, should_stop=self._shall_stop
                ),
            )
        return dict(zip(settings.prompts, written, strict=True))
