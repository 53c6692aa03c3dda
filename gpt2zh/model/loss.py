"""The loss as a sum, which is divided once by the number of targets of the whole step.

The logits of all tokens never exist at once: for 16,384 tokens and 32,000 ids they would take
1 GiB in half precision, and their fp32 copy and gradients three times as much again. The head works
on one chunk of tokens at a time and computes the gradients of the chunk while it has the logits, so
nothing is computed twice (the idea of Liger Kernel's fused linear cross-entropy, arXiv 2410.10989).

torch 2.13 has `F.linear_cross_entropy`, which does the same, but returns the loss in the type of
the hidden states: a sum in bf16 is wrong by 0.2 to 0.6 percent, and one in fp16 overflows at 65,504
nats. A test fails once that is fixed. Eagerly on a CPU our head takes 0.88 times as long as
transformers' head with its loss (fp32, 4 x 128, 32,000 ids).

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
    """A language model whose forward pass returns the sum of the loss over all valid targets.

    Micro-batches and ranks may have different numbers of targets (padding, masked prompts). Then
    the mean of their means is not the mean over tokens (transformers issue 34242), but sums add up.
    """

    def __init__(self, model: GPT2LMHeadModel, *, document_start: int | None = None) -> None:
        """Wrap `model`, which stays available as `.model`, and set its attention for training.

        Args:
            model: The model to train.
            document_start: Id of the token before every document: tokens attend only within their
                document, and its positions start at 0. None lets all tokens of a row attend.
        """
        super().__init__()
        model.set_attn_implementation(TRAINING)
        self.model = model
        self.head = _Head(model.lm_head.weight)
        self._document_start = document_start

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum of the cross-entropy of each label, predicted from the tokens before it.

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
        # Shift the labels, not the hidden states: a slice of hidden states would be copied.
        targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # (B, T): what each position predicts
        return self.head(hidden.flatten(0, 1), targets.flatten())


class _Head(nn.Module):
    """The output layer and the loss in one module, so that ZeRO 3 gathers its weight."""

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
    """Return the summed loss: (N, D), (V, D), (N,) to (), fp32."""
    parts = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    return torch.stack(
        [
            F.cross_entropy((part @ weight.T).float(), goal, ignore_index=IGNORED, reduction="sum")
            for part, goal in parts
        ]
    ).sum()


class _ChunkedLoss(torch.autograd.Function):
    """`_chunked`, with the gradients computed in the forward pass.

    They are the gradients of the sum. The backward pass multiplies them by the sum's own gradient
    in fp32, since a factor in bf16 would change all gradients of the model by up to 0.4 percent.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        hidden_gradients = []
        for part, goal in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            nats, logit_gradients = _loss_and_gradients((part @ weight.T).float(), goal)
            total = total + nats
            logit_gradients = logit_gradients.to(weight.dtype)
            hidden_gradients.append(logit_gradients @ weight)
            weight_gradient = weight_gradient + _head_gradient(logit_gradients, part)
            del logit_gradients  # free them before the next chunk's logits
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


def _head_gradient(logit_gradients: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Return a chunk's gradient of the head's weight: (n, V), (n, D) to (V, D).

    In fp16 the sum of a frequent token would exceed 65,504. The loss scale does not help, since it
    is applied later.
    """
    if hidden.dtype != torch.float16:
        return logit_gradients.T @ hidden
    return (logit_gradients.T @ (hidden / 64)).float() * 64


def _loss_and_gradients(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed loss of a chunk and the logits' gradients: (n, V), (n,) to (), (n, V)."""
    valid = targets != IGNORED
    goal = torch.where(valid, targets, 0)[:, None]
    log_sum = logits.logsumexp(dim=1, keepdim=True)
    nats = ((log_sum - logits.gather(1, goal))[:, 0] * valid).sum()
    # The first way is one kernel when compiled but five passes eagerly. The second one scatters, in
    # which a GPU has no fixed order.
    if torch.compiler.is_compiling() or torch.are_deterministic_algorithms_enabled():
        hit = torch.arange(logits.shape[1], device=logits.device) == goal
        return nats, ((logits - log_sum).exp() - hit.float()) * valid[:, None]
    gradients = logits.sub_(log_sum).exp_()
    gradients *= valid[:, None]
    return nats, gradients.scatter_add_(1, goal, torch.where(valid, -1.0, 0.0)[:, None])
