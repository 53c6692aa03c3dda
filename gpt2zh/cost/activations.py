"""The memory of activations: what a forward pass keeps for the backward pass. Pure arithmetic.

Tensors are counted one by one, as torch 2.13 and transformers 5.17 save them;
tests/cost/test_activations.py compares the sums with a real model.

`L` layers, `D` width, `H` heads, `T` context, `V` padded vocabulary, `N` tokens of a micro-batch.
The functions take the shape of the model, the rows of the padded embedding, the setting, and the
tokens of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.setting import Setting
from gpt2zh.model.shape import chunk_tokens

_FP32 = 4  # bytes of a number; sums are in fp32 in every precision


@dataclass(frozen=True)
class ActivationBytes:
    """Bytes at one moment of a step."""

    activations: int
    logits: int
    """Of the logits, their gradients, and the gradient of the head's weight in fp32."""


def after_head(
    model: ModelConfig, vocabulary: int, setting: Setting, tokens: int
) -> ActivationBytes:
    """Count bytes at the end of the forward pass, at the logits of the last chunk (model/loss.py).

    At that moment the hidden states and all their gradients exist.
    """
    return ActivationBytes(
        kept(model, setting, tokens) + 2 * tokens * model.width * setting.width,
        _head_gradient(model, vocabulary) + _chunk(model, vocabulary, setting, tokens),
    )


def between(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> ActivationBytes:
    """Count bytes between the forward and the backward pass."""
    hidden = tokens * model.width * setting.width
    return ActivationBytes(kept(model, setting, tokens) + hidden, _head_gradient(model, vocabulary))


def before_blocks(
    model: ModelConfig, vocabulary: int, setting: Setting, tokens: int
) -> ActivationBytes:
    """Count bytes at the start of the backward pass, where the head's gradients are scaled.

    Half precision is copied to fp32 for that, unless it is compiled to one kernel (model/loss.py).
    """
    hidden = tokens * model.width
    head = _head_gradient(model, vocabulary)
    scaled = 0 if setting.is_compiled else 2 * _FP32 * hidden if setting.is_half else _FP32 * hidden
    first = ActivationBytes(kept(model, setting, tokens) + hidden * setting.width + scaled, head)
    weight = head + vocabulary * model.width * setting.width
    second = ActivationBytes(
        kept(model, setting, tokens) + 2 * hidden * setting.width, head + weight
    )
    return max(first, second, key=lambda held: held.activations + held.logits)


def in_last_block(
    model: ModelConfig, vocabulary: int, setting: Setting, tokens: int
) -> ActivationBytes:
    """Count bytes in the backward pass of the last block, while all other blocks keep theirs.

    The maximum is at the gradient of the inner width: D for the residual stream and 4 D, and with
    gelu_new run eagerly another 4 D for its chain of products.
    """
    temporary = 9 if _is_chain(model, setting) else 5
    hidden = tokens * model.width * setting.width
    again = (
        tokens * (_block(model, setting) - model.width * setting.width) if setting.recompute else 0
    )
    return ActivationBytes(
        kept(model, setting, tokens) - hidden + again + temporary * hidden,
        vocabulary * model.width * setting.width,
    )


def kept(model: ModelConfig, setting: Setting, tokens: int) -> int:
    """Count bytes that the blocks and the last norm keep for the backward pass."""
    if setting.recompute:  # only the inputs of blocks; a compiled model recomputes the first one
        blocks = model.width * setting.width * (model.layers - setting.is_compiled)
    else:
        blocks = model.layers * _block(model, setting)
    last = model.width * setting.width + 16  # the input of the last norm; ids and labels, int64
    if model.dropout > 0:
        last += model.width * (1 if setting.on_gpu else setting.width)
    if setting.document_mask and setting.is_compiled:
        last += model.context * setting.width  # one mask for all blocks
    elif setting.document_mask and setting.recompute:
        last += model.context  # the same, one byte each
    return tokens * (blocks + last)


def _block(model: ModelConfig, setting: Setting) -> int:
    """Count bytes that a block keeps of a token.

    Inputs and outputs of both norms: 4 D. Query, key and value: 3 D. Output of the attention: D.
    The inner width before and after the activation: 8 D. Also the log-sum-exp of each head, and two
    numbers for each norm.
    """
    width = setting.width
    numbers = 16 * model.width
    if _is_chain(model, setting):
        numbers += 12 * model.width  # three more products of 4 D
    found = numbers * width + _FP32 * (model.heads + 4)
    if model.dropout > 0 and setting.on_gpu:
        found += 2 * model.width  # masks of one byte; FlashAttention draws its mask again
    if model.dropout > 0 and not setting.on_gpu:
        # A CPU keeps factors instead of masks. Its FlashAttention has no dropout, so the scores are
        # kept three times in fp32, and so are query, key and value.
        found += (2 - 3) * model.width * width
        found += 3 * _FP32 * (model.width + model.heads * model.context)
    elif setting.document_mask and not setting.is_compiled:
        found += model.context * width  # torch converts the mask to numbers in every block
    return found


def _is_chain(model: ModelConfig, setting: Setting) -> bool:
    """Return whether the activation is a chain of operations, each of which keeps its input."""
    return model.activation == "gelu_new" and not setting.is_compiled


def _head_gradient(model: ModelConfig, vocabulary: int) -> int:
    """Count bytes of the gradient of the head's weight."""
    return _FP32 * vocabulary * model.width


def _chunk(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> int:
    """Count bytes that a chunk needs for a while: for logits, then for its part of the gradient.

    Logits are in fp32, and torch's logsumexp copies them (aten/src/ATen/native/ReduceOps.cpp). The
    part of the gradient needs a product and a new sum next to the old one. A compiled chunk needs
    less; the estimate does not use this.
    """
    width, chunk = setting.width, chunk_tokens(tokens)
    matrix = vocabulary * model.width
    return max(
        2 * _FP32 * chunk * vocabulary, width * (chunk * vocabulary + matrix) + _FP32 * matrix
    )
