"""What a model keeps for the backward pass by arithmetic, against what torch does keep of one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from settings import setting as setting_of
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.activations import between
from gpt2zh.cost.setting import Setting
from gpt2zh.model.loss import SummedLoss

SHAPE = ModelConfig(layers=3, heads=4, width=128, context=64)
CHAIN = replace(SHAPE, activation="gelu_new")
DROPOUT = replace(SHAPE, dropout=0.1)
VOCABULARY, ROWS = 256, 32
HALF, FULL = setting_of({}, "bf16"), setting_of({}, "fp32")

EAGER = {
    "bf16": (SHAPE, HALF),
    "fp32": (SHAPE, FULL),
    "gelu_new in bf16": (CHAIN, HALF),
    "gelu_new in fp32": (CHAIN, FULL),
    "dropout in bf16": (DROPOUT, HALF),
    "dropout in fp32": (DROPOUT, FULL),
    "recomputed in bf16": (SHAPE, replace(HALF, recompute=True)),
    "recomputed with dropout": (DROPOUT, replace(HALF, recompute=True)),
    "masked": (SHAPE, replace(HALF, document_mask=True)),
    "masked and recomputed": (SHAPE, replace(HALF, document_mask=True, recompute=True)),
}
COMPILED = {
    "gelu_new in bf16": (CHAIN, replace(HALF, compile="always")),
    "masked in fp32": (SHAPE, replace(FULL, compile="always", document_mask=True)),
    "recomputed in bf16": (
        replace(SHAPE, layers=5),
        replace(HALF, compile="always", recompute=True),
    ),
}


def kept(shape: ModelConfig, setting: Setting) -> int:
    """Bytes of the storages that a forward pass saves, weights left out."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            n_layer=shape.layers,
            n_head=shape.heads,
            n_embd=shape.width,
            n_positions=shape.context,
            vocab_size=VOCABULARY,
            activation_function=shape.activation,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), shape.dropout),
            **dict.fromkeys(("bos_token_id", "eos_token_id"), 0),
        )
    ).to(torch.bfloat16 if setting.is_half else torch.float32)
    if setting.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    loss = SummedLoss(model.train(), document_start=0 if setting.document_mask else None)
    if setting.is_compiled:
        torch._dynamo.reset()
        # It divides the graph as the real compiler does, and needs no C++ compiler.
        loss.forward = torch.compile(
            loss.forward, backend="aot_eager_decomp_partition", fullgraph=True, dynamic=False
        )
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(1, VOCABULARY, (ROWS, shape.context))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(ids, ids)
    return sum(storage.nbytes() for storage in storages.values())


def compare(shape: ModelConfig, setting: Setting) -> None:
    expected = between(shape, VOCABULARY, setting, ROWS * shape.context)
    real = kept(shape, setting)
    assert expected.activations + expected.logits == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("name", EAGER)
def test_an_eager_model_keeps_what_is_reckoned(name: str) -> None:
    compare(*EAGER[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_model_keeps_what_is_reckoned(name: str) -> None:
    compare(*COMPILED[name])


def test_a_block_keeps_32_bytes_of_bf16_for_each_unit_of_width_and_token() -> None:
    """And a little for its norms and heads; 56 with the original chain of gelu_new."""
    tokens = 2**14
    for shape, expected in ((SHAPE, 32), (CHAIN, 56)):
        deeper = replace(shape, layers=4, width=768, heads=12)
        more, less = (
            between(replace(deeper, layers=layers), VOCABULARY, HALF, tokens).activations
            for layers in (4, 3)
        )
        assert (more - less) / tokens / 768 == pytest.approx(expected, abs=0.2)
