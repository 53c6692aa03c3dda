"""The loss as a sum, so that it can be divided once by the count of the whole step.

The logits of all tokens never exist at once: of 16,384 tokens and 32,000 ids they would take 1 GiB,
and their fp32 copy and gradients three times as much again. The head works on a chunk of tokens at
a time and computes the gradients of the chunk while it has its logits, so nothing is computed
twice (the idea of Liger Kernel's fused linear cross-entropy, arXiv 2410.10989). torch 2.13 has
`F.linear_cross_entropy`, which does so, too, but gives the loss in the type of the hidden states: a
sum in bf16 is wrong by 0.2 to 0.6 percent, one in fp16 overflows at 65,504 nats.

N tokens, D width, V padded vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from gpt2zh.model.attention import TRAINING, document_mask
from gpt2zh.model.shape import IGNORED, chunk_tokens


class SummedLoss(nn.Module):
    """A language model whose forward pass gives the nats of all valid targets.

    The mean of means over micro-batches and ranks is not the mean over tokens when they hold
    different numbers of targets (padding, masked prompts): transformers issue 34242.
    """

    def __init__(self, model: GPT2LMHeadModel, *, document_start: int | None = None) -> None:
        """Wrap `model`, which stays reachable as `.model` and attends as training does from now on.

        Args:
            model: Its weights are trained.
            document_start: Keep the documents of a row apart, each of which begins with this
                token: nothing attends beyond its document, where positions begin anew.
        """
        super().__init__()
        model.set_attn_implementation(TRAINING)
        self.model = model
        self.head = _Head(model.lm_head.weight)
        self._document_start = document_start

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum the cross-entropy of predicting each label from the tokens before it.

        Args:
            input_ids: (B, T) int64.
            labels: (B, T) int64, aligned with `input_ids`; -100 has no loss.

        Returns:
            The sum in nats, fp32, shape ().
        """
        mask, positions = None, None
        if self._document_start is not None:
            mask, positions = document_mask(input_ids, self._document_start)
        hidden = self.model.transformer(
            input_ids=input_ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state  # (B, T, D)
        # The labels move, not the hidden states: a slice of those would be copied.
        targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # (B, T): what each position predicts
        return self.head(hidden.flatten(0, 1), targets.flatten())


class _Head(nn.Module):
    """The output layer and the loss in one; ZeRO 3 gathers the weight for it as for any layer."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        chunk = chunk_tokens(len(targets))
        if torch.is_grad_enabled():
            return _ChunkedLoss.apply(hidden, self.weight, targets, chunk)
        return _chunked(hidden, self.weight, targets, chunk)


def _chunked(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
) -> torch.Tensor:
    """The summed loss: (N, D), (V, D), (N,) to (), fp32."""
    parts = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    return torch.stack(
        [
            F.cross_entropy((part @ weight.T).float(), goal, ignore_index=IGNORED, reduction="sum")
            for part, goal in parts
        ]
    ).sum()


class _ChunkedLoss(torch.autograd.Function):
    """`_chunked` with the gradients made on the way.

    They are those of the sum; the backward pass multiplies them in fp32 by the gradient of the sum,
    for a factor in bf16 would bend all gradients of the model by up to 0.4 percent.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        hidden_gradients = []
        for part, goal in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            nats, slopes = _loss_and_slopes((part @ weight.T).float(), goal)
            total = total + nats
            slopes = slopes.to(weight.dtype)
            hidden_gradients.append(slopes @ weight)
            weight_gradient = weight_gradient + _products(slopes, part)
            del slopes  # before the next chunk has its logits
        ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        of_hidden, of_weight = ctx.saved_tensors
        return (
            (of_hidden.float() * gradient).to(of_hidden.dtype),
            (of_weight * gradient).to(ctx.weight_dtype),
            None,
            None,
        )


def _products(slopes: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The gradient of the head's weight by a chunk: (n, V), (n, D) to (V, D).

    In fp16 a frequent token would add up beyond 65,504, and no loss scale helps, for it acts later.
    """
    if hidden.dtype != torch.float16:
        return slopes.T @ hidden
    return (slopes.T @ (hidden / 64)).float() * 64


def _loss_and_slopes(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss of a chunk, and its derivative by each logit: (n, V), (n,) to (), (n, V)."""
    valid = targets != IGNORED
    goal = torch.where(valid, targets, 0)[:, None]
    log_sum = logits.logsumexp(dim=1, keepdim=True)
    nats = ((log_sum - logits.gather(1, goal))[:, 0] * valid).sum()
    # Compiled this is one kernel, eagerly five passes; a GPU scatters in no fixed order.
    if torch.compiler.is_compiling() or torch.are_deterministic_algorithms_enabled():
        hit = torch.arange(logits.shape[1], device=logits.device) == goal
        return nats, ((logits - log_sum).exp() - hit.float()) * valid[:, None]
    slopes = logits.sub_(log_sum).exp_()
    slopes *= valid[:, None]
    return nats, slopes.scatter_add_(1, goal, torch.where(valid, -1.0, 0.0)[:, None])
