"""The loss as a sum, so that it can be divided once by the count of the whole step."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel


class SummedLoss(nn.Module):
    """A language model whose forward pass gives the nats of all valid targets.

    The mean of means over micro-batches and ranks is not the mean over tokens when they hold
    different numbers of targets (padding, masked prompts): transformers issue 34242.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap `model`, which stays reachable as `.model`."""
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum the cross-entropy of predicting each label from the tokens before it.

        Args:
            input_ids: (B, T) int64.
            labels: (B, T) int64, aligned with `input_ids`; -100 has no loss.

        Returns:
            The sum in nats, fp32, shape ().
        """
        logits = self.model(input_ids=input_ids, use_cache=False).logits  # (B, T, V)
        # The labels move, not the logits: a slice of those would be copied.
        targets = F.pad(labels[:, 1:], (0, 1), value=-100)  # (B, T): what each position predicts
        predicted = logits.flatten(0, 1).float()  # (B T, V)
        return F.cross_entropy(predicted, targets.flatten(), reduction="sum")
