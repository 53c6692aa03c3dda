"""Causal attention that still uses FlashAttention when the model is compiled.

transformers builds a mask of (B, 1, T, T) for GPT-2 whenever the model is traced (masking_utils.py
of 5.17 to 5.23: the search for packed sequences cannot stop early then), and FlashAttention takes
no mask. Run eagerly, the same search waits for the GPU in every forward pass. For an attention
registered under another name by `AttentionInterface`, transformers makes no mask.

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
"""Name of this attention in transformers; it is not saved with a model."""


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
    """Attend to the token itself and all earlier ones, or to those that a mask allows.

    Args:
        module: The attention layer; not used.
        query: (B, H, T, E).
        key: (B, H, T, E).
        value: (B, H, T, E).
        attention_mask: (B, 1, T, T), true where a token (row) may attend (column); None: causal.
        dropout: Probability.
        scaling: Factor of the scores.

    Returns:
        (B, T, H, E), and None for the attention weights, which never exist as a matrix.

    Raises:
        ValueError: There are more keys than queries, that is a KV cache, which is not supported.
    """
    if query.shape[2] != key.shape[2]:
        raise ValueError(
            f"{TRAINING} does not support a KV cache, but there are {query.shape[2]} queries for "
            f"{key.shape[2]} keys; generate inside `plain_attention(model)`"
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
    """Use transformers' own attention inside a `with` block, as KV caches and padding need it."""
    before = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def document_mask(input_ids: torch.Tensor, start_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a mask that separates packed documents, and positions from the start of each one.

    Args:
        input_ids: (B, T); tokens before the first start in a row are a document of their own.
        start_id: Id of the token before every document.

    Returns:
        A mask (B, 1, T, T), true where a token (row) may attend (column), and positions (B, T).
    """
    starts = input_ids == start_id
    document = starts.cumsum(dim=1)  # (B, T): the number of each token's document
    length = input_ids.shape[1]
    index = torch.arange(length, device=input_ids.device)
    causal = index[:, None] >= index  # (T, T)
    mask = (document[:, :, None] == document[:, None, :]) & causal
    begin = torch.where(starts, index, 0).cummax(dim=1).values
    return mask[:, None], index - begin
