"""Arithmetic of sizes against the real model."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.memory import checkpoint_bytes
from gpt2zh.model import shape
from gpt2zh.train.optimizer import moments_of

SMALL = ModelConfig(layers=12, heads=12, width=768, context=512)


@pytest.mark.parametrize(
    ("tokens", "rows"), [(1, 128), (128, 128), (129, 256), (21128, 21248), (32000, 32000)]
)
def test_the_vocabulary_is_padded_to_a_multiple_of_128(tokens: int, rows: int) -> None:
    assert shape.padded_vocabulary(tokens) == rows


@pytest.mark.parametrize(
    ("layers", "heads", "width", "context", "vocabulary"),
    [(1, 1, 8, 4, 128), (2, 3, 30, 32, 256), (4, 4, 128, 64, 640), (12, 12, 768, 512, 21248)],
)
def test_parameters_and_what_is_saved_of_them_equal_the_real_model(
    layers: int, heads: int, width: int, context: int, vocabulary: int
) -> None:
    with torch.device("meta"):
        real = GPT2LMHeadModel(
            GPT2Config(
                n_layer=layers,
                n_head=heads,
                n_embd=width,
                n_positions=context,
                vocab_size=vocabulary,
            )
        )
    model = ModelConfig(layers=layers, heads=heads, width=width, context=context)
    assert shape.parameters(model, vocabulary) == real.num_parameters()
    for kind in ("adamw", "muon"):
        tensors = {name: 1 + len(moments_of(kind, name)) for name, _ in real.named_parameters()}
        numbers = sum(tensors[name] * p.numel() for name, p in real.named_parameters())
        assert checkpoint_bytes(model, vocabulary, kind) == 4 * numbers
    assert len(set(tensors.values())) == 2


def test_flops_of_gpt2_small() -> None:
    assert shape.flops_per_token(SMALL, 21248) == pytest.approx(0.6641e9, rel=1e-4)


def test_flops_are_six_per_weight_and_twelve_per_attended_token() -> None:
    """Against the matrices of the real model: all but position embedding, biases and norms."""
    with torch.device("meta"):
        real = GPT2LMHeadModel(
            GPT2Config(n_layer=3, n_head=2, n_embd=32, n_positions=16, vocab_size=256)
        )
    matrices = sum(
        p.numel() for name, p in real.named_parameters() if p.dim() == 2 and "wpe" not in name
    )
    found = shape.flops_per_token(ModelConfig(layers=3, heads=2, width=32, context=16), 256)
    assert found == 6 * matrices + 12 * 3 * 32 * 16
