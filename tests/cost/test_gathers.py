"""The parameters of a GPT-2 and when ZeRO 3 gathers them, against the model and DeepSpeed's own."""

from __future__ import annotations

import pytest
import torch
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from settings import setting
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import ModelConfig, OptimizerConfig
from gpt2zh.cost.gathers import Limits, simulate_gathers
from gpt2zh.cost.traffic import count_traffic
from gpt2zh.cost.weights import Weights, weights_of
from gpt2zh.model import shape
from gpt2zh.train.optimizer import build_optimizer

SHAPE = ModelConfig(layers=3, heads=2, width=30, context=17)
SMALL = ModelConfig(layers=12, heads=12, width=768)
LARGE = ModelConfig(layers=36, heads=20, width=1280)
XL = ModelConfig(layers=48, heads=25, width=1600)
VOCABULARY = 32_000


@pytest.fixture(scope="module")
def real() -> GPT2LMHeadModel:
    with torch.device("meta"):
        return GPT2LMHeadModel(
            GPT2Config(n_layer=3, n_head=2, n_embd=30, n_positions=17, vocab_size=256)
        )


def test_the_parameters_are_those_of_the_model_in_its_order(real: GPT2LMHeadModel) -> None:
    expected = [
        (name.removeprefix("transformer."), p.numel(), p.dim() > 1)
        for name, p in real.named_parameters()
    ]
    found = weights_of(SHAPE, 256)
    assert [(w.name, w.elements, w.is_matrix) for w in found.all] == expected
    assert sum(w.elements for w in found.all) == shape.parameters(SHAPE, 256)
    assert sorted(found.by_gradient, key=str) == sorted(found.all, key=str)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_groups_are_those_of_the_optimizer(real: GPT2LMHeadModel, kind: str) -> None:
    optimizer = build_optimizer(real, OptimizerConfig(kind=kind))
    expected = [[p.numel() for p in group["params"]] for group in optimizer.param_groups]
    groups = weights_of(SHAPE, 256).groups(kind)
    assert [[w.elements for w in group] for group in groups] == expected
    assert len(groups) == {"adamw": 2, "muon": 4}[kind]


def test_what_is_not_in_the_json_is_as_deepspeed_has_it() -> None:
    theirs = DeepSpeedZeroConfig(stage=3)
    assert Limits() == Limits(
        ahead=theirs.prefetch_bucket_size,
        live=theirs.max_live_parameters,
        reuse=theirs.max_reuse_distance,
        persistent=theirs.param_persistence_threshold,
    )
    assert theirs.reduce_scatter and theirs.use_multi_rank_bucket_allreduce
    overlaps = [bool(DeepSpeedZeroConfig(stage=stage).overlap_comm) for stage in (1, 2, 3)]
    assert overlaps == [False, False, True]


def gathered(weights: Weights, limits: Limits, *, recompute: bool = False) -> float:
    """Elements gathered in a micro-batch, as a multiple of the model's."""
    there, back = weights.calls(recompute=recompute)
    found = sum(
        w.elements for gather in simulate_gathers([*there, *back], limits) for w in gather.weights
    )
    return found / sum(w.elements for w in weights.all)


@pytest.mark.parametrize("recompute", [False, True])
def test_below_deepspeeds_limits_a_model_is_gathered_about_once(recompute: bool) -> None:
    for model, times in ((SMALL, 1.0), (LARGE, 1.02), (XL, 1.41)):
        found = gathered(weights_of(model, VOCABULARY), Limits(), recompute=recompute)
        assert found == pytest.approx(times, abs=0.02)


def test_without_reuse_a_model_is_gathered_for_forward_and_backward() -> None:
    strict = Limits(ahead=0, live=0, reuse=0)
    weights = weights_of(LARGE, VOCABULARY)
    # The embedding is needed at the beginning and at the head: between them it is let go, too.
    assert gathered(weights, strict) == pytest.approx(2 + 2 * 0.055, abs=0.06)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 5])
def test_the_rule_of_the_document_holds(stage: int, accumulation: int) -> None:
    """Bytes of a step times W / (W - 1), P parameters in bf16, A micro-batches."""
    zero = profile(stage)["zero_optimization"]
    found = count_traffic(LARGE, VOCABULARY, setting(zero, ranks=8, accumulation=accumulation))
    factor = {0: 4, 1: 6, 2: 4 * accumulation + 2, 3: 4 * accumulation}[stage]
    expected = factor * shape.parameters(LARGE, VOCABULARY) * 7 / 8
    assert found.sent(8) == pytest.approx(expected, rel=0.01)
