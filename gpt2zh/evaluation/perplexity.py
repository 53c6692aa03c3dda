"""How surprised a model is by held-out text, in figures that can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from gpt2zh.data.batch import Batch
from gpt2zh.ranks.control import sum_over_ranks


@dataclass(frozen=True)
class Score:
    """The loss on a text: sums first, divisions last."""

    nats: float
    """Summed loss of all targets."""
    targets: int
    """Tokens that were predicted."""
    tokens: int
    """Of the text that the rows were made from, end-of-document tokens included."""
    characters: int
    """Of that text."""

    @property
    def loss(self) -> float:
        """Nats per token; compares models with the same tokenizer only."""
        return self.nats / self.targets if self.targets else math.nan

    @property
    def perplexity(self) -> float:
        """The exponential of the loss; compares models with the same tokenizer only."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_character(self) -> float:
        """Bits per character of text; compares any two models on the same text.

        The first token of each row is predicted from nothing and not scored; it is counted as
        if it cost the mean of the others.
        """
        return self.loss * (self.tokens / self.characters) / math.log(2)


@torch.no_grad()
def evaluate(
    summed_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batches: Iterable[Batch],
    *,
    device: torch.device,
    tokens: int,
    characters: int,
) -> Score:
    """Score a model on this rank's batches and add up over the ranks.

    Args:
        summed_loss: A model in evaluation mode; (ids, labels) to the summed loss in nats.
        batches: As many on every rank.
        device: Where the model is.
        tokens: Of the text behind the rows.
        characters: Of that text.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # nats, targets
    for batch in batches:
        there = batch.to(device)
        sums[0] += summed_loss(there.input_ids, there.labels)
        sums[1] += there.targets
    nats, targets = sum_over_ranks(sums).tolist()
    return Score(nats, int(targets), tokens, characters)


def joined(scores: Sequence[Score]) -> Score:
    """The score on several texts together, each of which gave rows in proportion to its size."""
    return Score(
        sum(score.nats for score in scores),
        sum(score.targets for score in scores),
        sum(score.tokens for score in scores),
        sum(score.characters for score in scores),
    )
