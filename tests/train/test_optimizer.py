"""AdamW's groups: who decays, who does not, nobody twice."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.optim import AdamW
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.train.optimizer import build_optimizer

CONFIG = OptimizerConfig(weight_decay=0.3, beta1=0.8, beta2=0.9, eps=1e-7, lr=0.5)


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=4, vocab_size=128))


@pytest.fixture
def optimizer(model: GPT2LMHeadModel) -> AdamW:
    return build_optimizer(model, CONFIG)


def names(model: GPT2LMHeadModel, parameters: list[torch.Tensor]) -> set[str]:
    known = {id(p): name for name, p in model.named_parameters()}
    return {known[id(p)] for p in parameters}


def test_every_parameter_is_in_exactly_one_group(model: GPT2LMHeadModel, optimizer: AdamW) -> None:
    held = Counter(id(p) for group in optimizer.param_groups for p in group["params"])
    assert held == Counter({id(p): 1 for p in model.parameters()})


def test_matrices_and_embeddings_decay_biases_and_norms_do_not(
    model: GPT2LMHeadModel, optimizer: AdamW
) -> None:
    decaying, plain = optimizer.param_groups
    assert (decaying["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    expected = {"transformer.wte.weight", "transformer.wpe.weight"} | {
        f"transformer.h.{layer}.{name}.weight"
        for layer in (0, 1)
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert names(model, decaying["params"]) == expected
    kinds = {name.split(".")[-2:][0][:2] for name in names(model, plain["params"])}
    assert kinds == {"ln", "c_"}
    assert all(p.dim() == 1 for p in plain["params"])


def test_frozen_weights_are_left_out(model: GPT2LMHeadModel) -> None:
    model.transformer.wpe.weight.requires_grad_(False)
    try:
        held = [p for group in build_optimizer(model, CONFIG).param_groups for p in group["params"]]
        assert "transformer.wpe.weight" not in names(model, held)
    finally:
        model.transformer.wpe.weight.requires_grad_(True)


def test_the_rate_begins_at_0_and_the_numbers_are_the_configs(
    model: GPT2LMHeadModel, optimizer: AdamW
) -> None:
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.0, (0.8, 0.9), 1e-7)
        assert group["fused"] is True
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    model.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_with_a_rate_only_matrices_decay(model: GPT2LMHeadModel, optimizer: AdamW) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    optimizer.step()
    model.zero_grad()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.85 if p.dim() == 2 else 1.0))
