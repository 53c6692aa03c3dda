"""Logits processors that treat every row of a batch as if it were alone.

`generate` of transformers knows neither padding nor one seed per row: its n-gram rule counts the
padding, and a batch shares one random generator, so that a row depends on the rows next to it.

B rows, K beams of each, T tokens, V ids of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.generation.logits_process import (
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gpt2zh.generation.sampling import SamplingConfig


def make_processors(
    sampling: SamplingConfig,
    *,
    padding: Sequence[int],
    generators: Sequence[torch.Generator],
    spared: int,
) -> list[LogitsProcessor]:
    """Return the processors of one call of `generate`, in their order.

    Args:
        sampling: Options for choosing the next token.
        padding: Number of padding tokens on the left of each of the B rows.
        generators: One per row, on the device of the logits. With them the last processor draws
            the token, and `generate` must run without `do_sample`; empty: it draws nothing.
        spared: Tokens at the beginning of a prompt that the repetition penalty does not count.
    """
    rules: list[LogitsProcessor] = []
    if sampling.no_repeat_ngram_size:
        rules.append(NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram_size))
    if sampling.repetition_penalty != 1.0:
        penalty = sampling.repetition_penalty
        rules.append(RepetitionPenaltyLogitsProcessor(penalty, prompt_ignore_length=spared))
    found: list[LogitsProcessor] = [_WithoutPadding(rule, padding) for rule in rules]
    if not generators:
        return found
    if sampling.temperature != 1.0:
        found.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        found.append(TopKLogitsWarper(top_k=sampling.top_k))
    if sampling.top_p < 1.0:
        found.append(TopPLogitsWarper(top_p=sampling.top_p))
    return [*found, _Draw(generators)]


class _WithoutPadding(LogitsProcessor):
    """Applies a rule about earlier tokens to each row without its padding."""

    def __init__(self, rule: LogitsProcessor, padding: Sequence[int]) -> None:
        self._rule = rule
        self._padding = padding

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (BK, V) after the tokens (BK, T)."""
        beams = len(input_ids) // len(self._padding)
        return torch.cat(
            [
                self._rule(input_ids[i : i + 1, self._padding[i // beams] :], scores[i : i + 1])
                for i in range(len(input_ids))
            ]
        )


class _Draw(LogitsProcessor):
    """Draws a token of each row from its own generator and gives it the highest score.

    This is what `torch.multinomial` does for a single draw, with the same random numbers: the
    probabilities are divided by exponential noise, and the largest quotient wins.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return quotients (B, V) whose argmax is the drawn token."""
        probabilities = scores.softmax(dim=-1)
        noise = torch.empty_like(probabilities)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(1, generator=generator)
        return probabilities / noise
