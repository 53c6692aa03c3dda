"""Weights without torch are those of a real model, in the orders that ZeRO meets them."""

from __future__ import annotations

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.weights import count_padded, find_owners, weights_of

SHAPE = ModelConfig(layers=2, heads=2, width=8, context=16)
VOCABULARY = 24


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=SHAPE.context,
            n_embd=SHAPE.width,
            n_layer=SHAPE.layers,
            n_head=SHAPE.heads,
        )
    )


def test_names_and_sizes_are_those_of_transformers(model: GPT2LMHeadModel) -> None:
    found = [(w.name, w.elements, w.is_matrix) for w in weights_of(SHAPE, VOCABULARY).all]
    assert found == [
        (name.removeprefix("transformer."), parameter.numel(), parameter.dim() == 2)
        for name, parameter in model.named_parameters()
    ]


def test_gradients_are_completed_in_the_order_of_a_backward_pass(model: GPT2LMHeadModel) -> None:
    order: list[str] = []
    for name, parameter in model.named_parameters():
        short = name.removeprefix("transformer.")
        parameter.register_post_accumulate_grad_hook(lambda _, n=short: order.append(n))
    ids = model.dummy_inputs["input_ids"] % VOCABULARY
    model(input_ids=ids, labels=ids).loss.backward()
    found = [weight.name for weight in weights_of(SHAPE, VOCABULARY).by_gradient]
    assert sorted(found) == sorted(order)

    def in_blocks(names: list[str]) -> list[str]:
        return list(dict.fromkeys(name.partition(".")[0] + name[1:4] for name in names))

    assert in_blocks(found) == in_blocks(order)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_weight_is_in_one_group(optimizer: str) -> None:
    weights = weights_of(SHAPE, VOCABULARY)
    names = [weight.name for group in weights.groups(optimizer) for weight in group]
    assert sorted(names) == sorted(weight.name for weight in weights.all)
    assert bool(weights.muon_groups(optimizer)) == (optimizer == "muon")


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_equal_parts_cover_a_group_and_know_their_ranks(ranks: int) -> None:
    group = weights_of(SHAPE, VOCABULARY).groups("adamw")[0]
    whole = count_padded(group, ranks)
    assert whole % (2 * ranks) == 0 and 0 <= whole - sum(w.elements for w in group) < 2 * ranks
    part, begin = whole // ranks, 0
    for weight, held_by in find_owners(group, ranks):
        touched = {(begin + element) // part for element in range(weight.elements)}
        assert set(held_by) == touched
        begin += weight.elements
