"""The estimate of memory against what a real model holds."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.config.schema import ModelConfig
from gpt2zh.model import cost
from gpt2zh.model.loss import SummedLoss

SHAPE = ModelConfig(layers=3, heads=4, width=64, context=64)
VOCABULARY = 512


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=SHAPE.layers,
            n_head=SHAPE.heads,
            n_embd=SHAPE.width,
            n_positions=SHAPE.context,
            vocab_size=VOCABULARY,
            activation_function=SHAPE.activation,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
            **dict.fromkeys(("bos_token_id", "eos_token_id"), 0),
        )
    )


def estimate(**more: object) -> cost.Memory:
    options = {"micro_batch": 4, "half": False, "zero_stage": 0, "ranks": 1, "recompute": False}
    return cost.training_memory(SHAPE, VOCABULARY, **options | more)


def test_states_are_the_bytes_of_weights_gradients_and_moments(model: GPT2LMHeadModel) -> None:
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(0, VOCABULARY, (2, SHAPE.context))
    SummedLoss(model)(ids, ids).backward()
    optimizer.step()
    held = [t for p in model.parameters() for t in (p, p.grad)]
    held += [s[kind] for s in optimizer.state.values() for kind in ("exp_avg", "exp_avg_sq")]
    assert estimate().states == sum(tensor.nbytes for tensor in held)


def test_activations_are_about_what_the_backward_pass_keeps(model: GPT2LMHeadModel) -> None:
    """The estimate is no less than that, and not far above."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, VOCABULARY, (4, SHAPE.context))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        SummedLoss(model)(ids, ids)
    real = sum(storage.nbytes() for storage in kept.values())
    assert 1.0 <= estimate().activations / real < 1.5


# Bytes of a parameter by (half, stage, ranks): section 3.1 of the ZeRO paper for half precision,
# where 16 bytes are 2 + 2 + 12; in fp32 DeepSpeed keeps a second copy of the weights with ZeRO.
BYTES = {
    (False, 0, 8): 4 + 4 + 8,
    (False, 1, 1): 4 + 4 + 12,
    (False, 1, 4): 4 + 4 + 12 / 4,
    (False, 3, 4): (4 + 4 + 12) / 4,
    (True, 0, 8): 2 + 2 + 12,
    (True, 1, 4): 2 + 2 + 12 / 4,
    (True, 2, 4): 2 + (2 + 12) / 4,
    (True, 3, 4): (2 + 2 + 12) / 4,
}


@pytest.mark.parametrize(("half", "stage", "ranks"), BYTES)
def test_each_stage_divides_more_of_the_states_among_the_ranks(
    half: bool, stage: int, ranks: int
) -> None:
    count = cost.parameters(SHAPE, VOCABULARY)
    found = estimate(half=half, zero_stage=stage, ranks=ranks).states
    assert found == pytest.approx(BYTES[half, stage, ranks] * count, abs=1)


def test_activations_grow_with_the_micro_batch_and_nothing_else_of_the_ranks() -> None:
    one = estimate(micro_batch=1).activations
    assert estimate(micro_batch=6).activations == 6 * one
    assert estimate(micro_batch=1, zero_stage=3, ranks=8).activations == one
    assert estimate(micro_batch=6).states == estimate(micro_batch=1).states


def test_recomputing_and_half_precision_need_less() -> None:
    assert estimate(recompute=True).activations < 0.7 * estimate().activations
    assert estimate(half=True).activations < 0.7 * estimate().activations
