"""What a config and a DeepSpeed JSON say of the bytes of a number, of buckets and of compiling."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deepspeed.runtime import engine
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from settings import setting

from gpt2zh.cost.setting import DEEPSPEED_BUCKET


def test_a_bucket_that_is_not_in_the_json_is_as_deepspeed_has_it() -> None:
    theirs = DeepSpeedZeroConfig(stage=3)
    assert theirs.reduce_bucket_size == engine.MEMORY_OPT_ALLREDUCE_SIZE == DEEPSPEED_BUCKET
    assert setting({"stage": 1}).bucket == DEEPSPEED_BUCKET
    assert setting({"stage": 1, "reduce_bucket_size": 1e6}).bucket == 10**6


# Bytes of a number in the forward pass, in the sums of gradients, and on the wire.
WIDTHS = {
    ("fp32", 2, "auto"): (4, 4, 4),
    ("bf16", 0, "auto"): (2, 2, 2),  # without ZeRO it sums in the precision of the training
    ("bf16", 1, "auto"): (2, 4, 2),
    ("fp16", 3, "auto"): (2, 4, 2),
    ("bf16", 2, "bf16"): (2, 2, 2),
}


@pytest.mark.parametrize(("precision", "stage", "sums"), WIDTHS)
def test_numbers_have_the_width_of_their_types(precision: str, stage: int, sums: str) -> None:
    found = setting({"stage": stage}, precision, sums=sums)
    assert (found.width, found.sum_width, found.sent_width) == WIDTHS[precision, stage, sums]
    assert found.is_half == (precision != "fp32")
    as_fp32 = replace(found, resolved={**found.resolved, "communication_data_type": "fp32"})
    assert as_fp32.sent_width == 4


@pytest.mark.parametrize("stage", range(4))
def test_a_model_is_compiled_on_a_gpu_or_on_demand_but_never_with_zero_3(stage: int) -> None:
    for compile_, on_gpu, should in (
        ("auto", True, True),
        ("auto", False, False),
        ("always", False, True),
        ("never", True, False),
    ):
        found = setting({"stage": stage}, compile=compile_, on_gpu=on_gpu)
        assert (found.should_compile, found.is_compiled) == (should, should and stage < 3)


def test_what_is_offloaded_and_how_often_a_rank_accumulates() -> None:
    away = setting({"stage": 2, "offload_optimizer": {"device": "cpu"}}, ranks=4, accumulation=3)
    assert (away.stage, away.accumulation) == (2, 3)
    assert away.offloads("optimizer") and not away.offloads("param")
    assert not setting({"stage": 2, "offload_optimizer": {"device": "none"}}).offloads("optimizer")
