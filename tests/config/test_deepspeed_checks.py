"""Faults of a DeepSpeed JSON: each shows value and cure, and all are reported at once."""

from __future__ import annotations

from typing import Any

import pytest
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed_json import refused, resolve

from gpt2zh.config import deepspeed, deepspeed_checks
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig

OPTIMIZER = OptimizerConfig()
MUON = OptimizerConfig(kind="muon")


def test_stage_0_sums_gradients_in_the_training_s_precision_alone() -> None:
    message = refused({"data_types": {"grad_accum_dtype": "float"}}, precision="bf16")
    for part in ("grad_accum_dtype 'float' needs", "stage 1 or more", "zero1.json"):
        assert part in message
    for spelled in ("bf16", "bfloat16", "torch.bfloat16"):
        assert resolve({"data_types": {"grad_accum_dtype": spelled}}, precision="bf16")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"train_batch_size": 99}, ["train_batch_size is 99", "160", "write auto"]),
        ({"train_micro_batch_size_per_gpu": 3}, ["_per_gpu is 3", "8 in the config"]),
        ({"gradient_accumulation_steps": 7}, ["steps is 7", "20 in the config"]),
        ({"gradient_clipping": 0.5}, ["gradient_clipping is 0.5", "1.0"]),
        ({"fp16": {"enabled": True}}, ["fp16.enabled is True", "False in the config"]),
        ({"bfloat16": {"enabled": True}}, ["bf16.enabled is True", "False"]),
        ({"optimizer": {"type": "Lamb"}}, ["'Lamb'", "the optimizer is AdamW"]),
        (
            {"optimizer": {"type": "Adam", "params": {"lr": 1.0, "betas": [0.9, 0.999]}}},
            ["2 faults", "params.lr is 1.0", "0.0006", "params.betas", "[0.9, 0.95]"],
        ),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}}},
            [
                "scheduler.type is 'WarmupLR'",
                "optimizer.schedule owns",
                "--optimizer.warmup_steps 10",
            ],
        ),
        ({"scheduler": {"type": "WarmupLR"}}, ["--optimizer.schedule constant", "remove the sec"]),
        ({"torch_autocast": {"enabled": True}}, ["torch_autocast", "train.precision"]),
        ({"prescale_gradients": True}, ["prescale_gradients", "remove it"]),
        ({"gradient_predivide_factor": 2.0}, ["gradient_predivide_factor", "remove it"]),
        ({"sparse_gradients": True}, ["sparse_gradients", "remove it"]),
        ({"zero_optimisation": {"stage": 3}}, ["zero_optimisation", "did you mean zero_opti"]),
        ({"gradient_cliping": 1.0}, ["gradient_cliping", "did you mean gradient_clipping"]),
        ({"zero_optimization": {"stage": 4}}, ["stage is 4", "0, 1, 2 or 3"]),
        ({"zero_optimization": {"stage": "auto"}}, ["stage is 'auto'", "0, 1, 2 or 3"]),
        (
            {"zero_optimization": {"stage": 0, "offload_optimizer": {"device": "cpu"}}},
            ["offload_optimizer needs stage 1", "the JSON has 0"],
        ),
        (
            {"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}},
            ["offload_param needs stage 3", "the JSON has 2"],
        ),
        (
            {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme"}}},
            ["offload_optimizer.device is 'nvme'", "it must be cpu or none"],
        ),
        (
            {"data_types": {"grad_accum_dtype": "fp64"}},
            ["grad_accum_dtype is 'fp64'", "summed in fp32 or in train.precision, fp32"],
        ),
        (
            {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "bf16"}},
            ["grad_accum_dtype is 'bf16'", "in fp32 or in train.precision, fp32", "remove it"],
        ),
        ({"data_types": {"grad_accum_dtype": ["fp32"]}}, ["grad_accum_dtype is ['fp32']"]),
        (
            {"communication_data_type": "float32"},
            ["communication_data_type is 'float32'", "use fp32, fp16, bf16 or remove it"],
        ),
        (
            {"zero_optimization": {"stage": 1, "overlap_comm": "false"}},
            ["overlap_comm is the text 'false'", "true or false", "remove the quotes"],
        ),
        (
            {"elasticity": {"enabled": False}},
            ["elasticity was removed from DeepSpeed", "remove it"],
        ),
        ({"progressive_layer_drop": {}}, ["progressive_layer_drop was removed"]),
        ({"curriculum_learning": {"a": 1}}, ["use train.sequence_length_warmup"]),
        ({"compile": {"deepcompile": True}}, ["compile.deepcompile", "use train.compile"]),
        ({"compile": True}, ["compile is True", "it must be an object"]),
        ({"gradient_allreduce_op": "sum"}, ["gradient_allreduce_op is not supported"]),
        ({"tensor_parallel": {"autotp_size": 2}}, ["tensor_parallel is not supported"]),
        ({"sequence_parallel_size": 2}, ["sequence_parallel_size is not supported"]),
        ({"zero_optimization": 2}, ["zero_optimization", "2"]),
        ({"bf16": True}, ["bf16", "True", "enabled"]),
        ({"managed_gradient_accumulation": False}, ["managed_gradient_accumulation is False"]),
        ({"timers": True}, ["timers is True", "it must be an object"]),
        ({"timers": {"throughput": True}}, ["timers.throughput is True", "it must be an object"]),
        ({"optimizer": {"params": 5}}, ["optimizer.params is 5", "it must be an object"]),
        ({"scheduler": {"params": 5}}, ["scheduler.params is 5", "it must be an object"]),
        ({"timers": 1, "zero_optimization": 2}, ["2 faults", "timers is 1"]),
        ({"optimizer": "AdamW"}, ["optimizer", "AdamW"]),
        ({"scheduler": "WarmupLR"}, ["scheduler", "WarmupLR"]),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": "cpu"}},
            ["offload_optimizer", "cpu"],
        ),
    ],
)
def test_a_contradiction_shows_both_values_and_the_cure(
    raw: dict[str, Any], told: list[str]
) -> None:
    message = refused(raw)
    assert not [part for part in told if part not in message], message


def test_all_contradictions_are_told_at_once() -> None:
    raw = {
        "train_batch_size": 99,
        "gradient_clipping": 0.5,
        "fp16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": 1.0}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 1}},
        "torch_autocast": {"enabled": True},
        "zero_optimisation": {"stage": 3},
        "zero_optimization": {"stage": 1, "offload_param": {"device": "nvme"}},
    }
    message = refused(raw)
    assert "10 faults" in message
    for part in ("train_batch_size", "gradient_clipping", "fp16.enabled", "optimizer.params.lr"):
        assert part in message
    for part in ("scheduler", "torch_autocast", "zero_optimisation", "needs stage 3", "'nvme'"):
        assert part in message


@pytest.mark.parametrize(
    ("zero", "told"),
    [
        ({"stage": 3}, "needs zero_optimization.stage 0, 1 or 2, the JSON has 3"),
        ({"stage": 1, "offload_optimizer": {"device": "cpu"}}, "remove zero_optimization.offlo"),
    ],
)
def test_muon_refuses_what_keeps_it_from_whole_matrices_or_the_device(
    zero: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=r"optimizer\.kind muon") as caught:
        deepspeed.resolve({"zero_optimization": zero}, TrainConfig(), MUON, 2)
    assert told in str(caught.value) and str(caught.value).endswith("optimizer.kind adamw")
    assert deepspeed.resolve({"zero_optimization": zero}, TrainConfig(), OPTIMIZER, 2)


def test_the_optimizer_of_the_json_is_that_of_the_config() -> None:
    section = {"type": "AdamW", "params": {"lr": "auto"}}
    with pytest.raises(UserError, match=r"'AdamW'.*the optimizer is Muon \(optimizer\.kind\)"):
        deepspeed.resolve({"optimizer": section}, TrainConfig(), MUON, 1)
    with pytest.raises(UserError, match=r"'Muon'.*the optimizer is AdamW \(optimizer\.kind\)"):
        deepspeed.resolve({"optimizer": section | {"type": "Muon"}}, TrainConfig(), OPTIMIZER, 1)


NUMBERS = sorted(
    field.alias or name
    for name, field in DeepSpeedZeroConfig.model_fields.items()
    if field.annotation is int
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_zero_is_whole_and_not_negative(name: str) -> None:
    assert len(NUMBERS) == 10
    for value in ("5e8", "500000000", -1, 0.5, True, float("inf"), [5]):
        message = refused({"zero_optimization": {"stage": 3, name: value}})
        assert f"zero_optimization.{name} is " in message and repr(value) in message
    for value in (500_000_000, 5e8, "auto", None):
        resolved = resolve({"zero_optimization": {"stage": 3, name: value}})
        assert resolved["zero_optimization"].get(name, 5e8) == 5e8
        DeepSpeedZeroConfig(**resolved["zero_optimization"])


def test_a_wrong_section_and_a_batch_that_does_not_split_hide_no_other_fault() -> None:
    raw = {"bf16": True, "train_batch_size": 99, "optimizer": {"params": {"lr": 1.0}}}
    message = refused(raw, 3, global_batch=16, micro_batch=4)
    for part in ("4 faults", "bf16 is True", "train_batch_size is 99", "params.lr", "4 x 3"):
        assert part in message


@pytest.mark.parametrize("name", ["optimizer", "param"])
@pytest.mark.parametrize(
    ("section", "is_away"),
    [
        (None, False),
        ({}, False),
        ({"device": None}, False),
        ({"device": "auto"}, False),
        ({"device": "none"}, False),
        ({"device": "cpu"}, True),
        ({"device": "nvme"}, True),
    ],
)
def test_what_is_offloaded_is_told_of_raw_and_resolved_tables(
    name: str, section: dict[str, Any] | None, is_away: bool
) -> None:
    raw = {"zero_optimization": {"stage": 3, f"offload_{name}": section}}
    assert deepspeed_checks.is_offloaded(raw, name) == is_away
    other = {"optimizer": "param", "param": "optimizer"}[name]
    assert not deepspeed_checks.is_offloaded(raw, other)
    assert not deepspeed_checks.is_offloaded({"zero_optimization": None}, name)
    if section != {"device": "nvme"}:
        assert deepspeed_checks.is_offloaded(resolve(raw), name) == is_away


def test_compiling_always_is_refused_at_stage_3() -> None:
    train, raw = TrainConfig(compile="always"), {"zero_optimization": {"stage": 3}}
    with pytest.raises(UserError, match="use train"):
        deepspeed.resolve(raw, train, OptimizerConfig(), 1)
