"""Loss, perplexity and bits per character on held-out text.

Nothing here knows about ranks: the function that adds up over them is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from gpt2zh.data.batch import Batch


@dataclass(frozen=True)
class Score:
    """Loss on a text, as sums; they are divided last."""

    nats: float
    """Summed loss of all targets."""
    targets: int
    """Tokens that were predicted, in number."""
    tokens: int
    """Tokens of the text that the rows were made from, with its end-of-document tokens."""
    characters: int
    """Characters of that text."""

    @property
    def loss(self) -> float:
        """Nats per token; only comparable between models with the same tokenizer."""
        return self.nats / self.targets if self.targets else math.nan

    @property
    def perplexity(self) -> float:
        """Exponential of the loss; only comparable between models with the same tokenizer."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_character(self) -> float:
        """Bits per character; comparable between any two models on the same text.

        The first token of each row is not scored, since nothing comes before it; it counts as if
        it had the mean loss of the others.
        """
        return self.loss * (self.tokens / self.characters) / math.log(2)


def keep_local(sums: torch.Tensor) -> torch.Tensor:
    """Return the sums of this process as they are: the reducer of a process on its own."""
    return sums


@torch.no_grad()
def evaluate(
    summed_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batches: Iterable[Batch[torch.Tensor]],
    *,
    device: torch.device,
    tokens: int,
    characters: int,
    reduce: Callable[[torch.Tensor], torch.Tensor] = keep_local,
) -> Score:
    """Score a model on batches.

    Args:
        summed_loss: A model in evaluation mode; (ids, labels), (B, T) each, to the summed loss
            in nats.
        batches: On the device of the model; the same number on every rank.
        device: Where the model is.
        tokens: Tokens of the text that the rows were made from.
        characters: Characters of that text.
        reduce: Adds up a tensor over all ranks; every rank gets the sums. Called once.

    Returns:
        The sums over all ranks, or of this process without `reduce`.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # (2,): nats, targets
    for batch in batches:
        sums[0] += summed_loss(batch.input_ids, batch.labels)
        sums[1] += batch.targets
    nats, targets = reduce(sums).tolist()
    return Score(nats, int(targets), tokens, characters)


def combine_scores(scores: Sequence[Score]) -> Score:
    """Return the score on several texts together; each gave rows in proportion to its size."""
    return Score(
        sum(score.nats for score in scores),
        sum(score.targets for score in scores),
        sum(score.tokens for score in scores),
        sum(score.characters for score in scores),
    )
