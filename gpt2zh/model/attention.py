"""Causal attention that stays FlashAttention when the model is compiled.

transformers builds a mask of (B, 1, T, T) for GPT-2 whenever it is traced (masking_utils.py of
5.17 to 5.23: the search for packed sequences cannot leave early then), and a mask rules out the
flash kernels; run eagerly, the same search waits for the GPU in every forward pass. For an
attention of another name, registered through its own extension point, it makes no mask at all.

B rows, H heads, T tokens, E width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

TRAINING = "gpt2zh_causal"
"""Its name in transformers; a saved model does not mention it."""


def causal_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Let every token attend to itself and those before it, or to what a mask allows.

    Args:
        module: The attention layer; not used.
        query: (B, H, T, E).
        key: (B, H, T, E).
        value: (B, H, T, E).
        attention_mask: (B, 1, T, T), true where a token (row) may look (column); None: causal.
        dropout: Probability.
        scaling: Factor of the scores.

    Returns:
        (B, T, H, E), and no weights: they never exist as a matrix.

    Raises:
        ValueError: There are more keys than queries: a cache, which this cannot continue.
    """
    if query.shape[2] != key.shape[2]:
        raise ValueError(
            f"{TRAINING} attends within whole rows, but there are {query.shape[2]} queries for "
            f"{key.shape[2]} keys; generate within `plain_attention(model)`"
        )
    attended = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=dropout,
        is_causal=attention_mask is None,
        scale=scaling,
    )
    return attended.transpose(1, 2), None


AttentionInterface.register(TRAINING, causal_attention)


@contextlib.contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend as transformers does, which caches and padding need, for a while."""
    before = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def document_mask(input_ids: torch.Tensor, start_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep packed documents apart: who may attend to whom, and positions from each one's start.

    Args:
        input_ids: (B, T); what comes before the first start of a row is a document of its own.
        start_id: The token that stands before every document.

    Returns:
        A mask (B, 1, T, T), true where a token (row) may attend (column), and positions (B, T).
    """
    starts = input_ids == start_id
    document = starts.cumsum(dim=1)  # (B, T): the number of each token's document
    length = input_ids.shape[1]
    place = torch.arange(length, device=input_ids.device)
    causal = place[:, None] >= place  # (T, T)
    mask = (document[:, :, None] == document[:, None, :]) & causal
    begun_at = torch.where(starts, place, 0).cummax(dim=1).values
    return mask[:, None], place - begun_at
