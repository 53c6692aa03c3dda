"""The bytes that a micro-batch takes between its forward and its backward pass. Pure arithmetic.

What a block keeps is written down here tensor by tensor, as torch 2.13 and transformers 5.17 save
it; tests/cost/test_activations.py measures it again on a real model.

`L` layers, `D` width, `H` heads, `T` context, `V` padded vocabulary, `N` tokens of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.setting import Setting
from gpt2zh.model.shape import chunk_tokens

_SUM = 4  # bytes of fp32, in which sums are kept whatever the precision


@dataclass(frozen=True)
class Held:
    """Bytes at some moment."""

    activations: int
    logits: int
    """And what the head makes of them: their gradients, and the head's own gradient in fp32."""


def after_head(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> Held:
    """At the end of the forward pass, while the last chunk has its logits (model/loss.py).

    By then there are the gradients of all hidden states, beside these themselves.
    """
    return Held(
        kept(model, setting, tokens) + 2 * tokens * model.width * setting.width,
        _head_gradient(model, vocabulary) + _chunk(model, vocabulary, setting, tokens),
    )


def between(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> Held:
    """Between the forward and the backward pass."""
    hidden = tokens * model.width * setting.width
    return Held(kept(model, setting, tokens) + hidden, _head_gradient(model, vocabulary))


def before_blocks(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> Held:
    """As the backward pass begins: the gradients that the head has made are scaled.

    That happens in fp32, so half precision is copied, unless one kernel does all (model/loss.py).
    """
    hidden = tokens * model.width
    head = _head_gradient(model, vocabulary)
    scaled = 0 if setting.is_compiled else 2 * _SUM * hidden if setting.is_half else _SUM * hidden
    first = Held(kept(model, setting, tokens) + hidden * setting.width + scaled, head)
    weight = head + vocabulary * model.width * setting.width
    second = Held(kept(model, setting, tokens) + 2 * hidden * setting.width, head + weight)
    return max(first, second, key=lambda held: held.activations + held.logits)


def in_last_block(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> Held:
    """In the backward pass of the last block, while all others wait with what they keep.

    The most is needed where the gradient of its inner width begins: one of D for the residual
    stream and one of 4 D, and with gelu_new run eagerly another 4 D for its chain of products.
    """
    temporary = 9 if _is_chain(model, setting) else 5
    hidden = tokens * model.width * setting.width
    again = (
        tokens * (_block(model, setting) - model.width * setting.width) if setting.recompute else 0
    )
    return Held(
        kept(model, setting, tokens) - hidden + again + temporary * hidden,
        vocabulary * model.width * setting.width,
    )


def kept(model: ModelConfig, setting: Setting, tokens: int) -> int:
    """Bytes that the blocks and the last norm keep for the backward pass."""
    if setting.recompute:  # the inputs of blocks; a compiled model gathers the first one again
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
    """Bytes that a block keeps of a token.

    Inputs of both norms, and their outputs, which enter products: 4 D. Query, key and value: 3 D.
    What the attention gives, which enters a product: D. The inner width before and after the
    activation: 8 D. Beside these the logarithm of each head's sum, and two numbers for each norm.
    """
    width = setting.width
    numbers = 16 * model.width
    if _is_chain(model, setting):
        numbers += 12 * model.width  # three products more, each 4 D
    found = numbers * width + _SUM * (model.heads + 4)
    if model.dropout > 0 and setting.on_gpu:
        found += 2 * model.width  # masks of one byte; FlashAttention draws its own again
    if model.dropout > 0 and not setting.on_gpu:
        # Factors instead of masks. The CPU's FlashAttention has no dropout: the scores are kept
        # three times in fp32, so are query, key and value.
        found += (2 - 3) * model.width * width
        found += 3 * _SUM * (model.width + model.heads * model.context)
    elif setting.document_mask and not setting.is_compiled:
        found += model.context * width  # torch makes numbers of a mask in every block
    return found


def _is_chain(model: ModelConfig, setting: Setting) -> bool:
    """Whether the activation is a chain of operations that each keep their input."""
    return model.activation == "gelu_new" and not setting.is_compiled


def _head_gradient(model: ModelConfig, vocabulary: int) -> int:
    """The sum of the head's gradient over the chunks."""
    return _SUM * vocabulary * model.width


def _chunk(model: ModelConfig, vocabulary: int, setting: Setting, tokens: int) -> int:
    """What a chunk needs on the way: its logits, then its share of the head's gradient.

    Logits are fp32, and so is a copy in torch's logsumexp (aten/src/ATen/native/ReduceOps.cpp). The
    share of the gradient is a product, and a new sum beside the old one. A compiled chunk needs
    less, which is not counted on.
    """
    width, chunk = setting.width, chunk_tokens(tokens)
    matrix = vocabulary * model.width
    return max(2 * _SUM * chunk * vocabulary, width * (chunk * vocabulary + matrix) + _SUM * matrix)
