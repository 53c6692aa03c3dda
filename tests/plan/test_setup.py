"""How a model is trained, whatever the data: its numbers, and all that their costs depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import MODEL, setup_of

from gpt2zh.config.profiles import profile
from gpt2zh.model import shape
from gpt2zh.plan.setup import setting_of

PADDED = 5120
"""The vocabulary of 5,000 tokens, in steps of 128."""


@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 16), (2, 8), (16, 1)])
def test_the_batch_is_split_over_ranks_and_their_micro_batches(
    ranks: int, accumulation: int
) -> None:
    setup = setup_of(ranks, profile(2))
    assert (setup.micro_batch, setup.accumulation, setup.zero_stage) == (4, accumulation, 2)
    assert setup.tokens_per_step == 64 * 128
    assert setup.vocabulary == PADDED
    assert setup.parameters == shape.parameters(MODEL, PADDED)
    assert setup.flops_per_token == shape.flops_per_token(MODEL, PADDED)


def test_a_micro_batch_that_is_still_open_has_no_number() -> None:
    setup = setup_of(1, profile(1))
    train = replace(setup.config.train, micro_batch="auto")
    with pytest.raises(AssertionError):
        _ = replace(setup, config=replace(setup.config, train=train)).micro_batch


def test_its_memory_is_that_of_a_gpu_also_with_another_json() -> None:
    one, three = setup_of(8, profile(1)), setup_of(8, profile(3))
    assert one.memory().context > 0
    assert one.memory(three.resolved) == three.memory() != one.memory()
    assert three.memory().optimizer < one.memory().parameters + one.memory().optimizer


# An option of the training, and the field of a setting that must follow it.
FOLLOWS = {
    "activation_checkpointing": (True, "recompute"),
    "compile": ("always", "compile"),
    "document_mask": (True, "document_mask"),
}


@pytest.mark.parametrize("option", FOLLOWS)
def test_an_option_that_costs_something_reaches_the_setting(option: str) -> None:
    value, field = FOLLOWS[option]
    plain, other = (setup_of(2, profile(1), **more) for more in ({}, {option: value}))
    found = [setting_of(s.config, s.resolved, ranks=2, on_gpu=True) for s in (plain, other)]
    assert replace(found[0], **{field: value}) == found[1] != found[0]


def test_ranks_device_json_and_optimizer_reach_the_setting() -> None:
    setup = setup_of(2, profile(1))
    config = replace(setup.config, optimizer=replace(setup.config.optimizer, kind="muon"))
    found = setting_of(config, setup.resolved, ranks=5, on_gpu=False)
    assert (found.resolved, found.ranks, found.on_gpu) == (setup.resolved, 5, False)
    assert found.optimizer == "muon"
