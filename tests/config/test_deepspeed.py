"""A DeepSpeed JSON against our config: every number has one home."""

from __future__ import annotations

import itertools
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime import engine
from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

from gpt2zh.config import deepspeed
from gpt2zh.config.batch import accumulation
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig

ROOT = Path(__file__).parents[2]
OPTIMIZER = OptimizerConfig()


def resolve(raw: dict[str, Any], ranks: int = 1, **train: Any) -> dict[str, Any]:
    return deepspeed.resolve(raw, TrainConfig(**train), OPTIMIZER, ranks)


def refused(raw: dict[str, Any], ranks: int = 1, **train: Any) -> str:
    with pytest.raises(UserError) as caught:
        resolve(raw, ranks, **train)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "ds_configs").glob("*.json")), ids=lambda p: p.stem)
@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_shipped_json_fits_every_precision_and_world(
    path: Path, ranks: int, precision: str
) -> None:
    raw = deepspeed.read(path)
    found = resolve(raw, ranks, global_batch=64, micro_batch=4, precision=precision)
    batch = found["train_micro_batch_size_per_gpu"] * found["gradient_accumulation_steps"] * ranks
    assert batch == found["train_batch_size"] == 64
    assert found["bf16"]["enabled"] is (precision == "bf16")
    assert found["fp16"]["enabled"] is (precision == "fp16")
    assert found["gradient_clipping"] == OPTIMIZER.max_grad_norm
    assert found["zero_optimization"].items() >= raw["zero_optimization"].items()
    stage = int(next(iter(re.findall(r"zero(\d)", path.stem)), 1))
    assert deepspeed.zero_stage(found) == stage
    half = precision != "fp32" and stage > 0
    assert found.get("data_types", {}).get("grad_accum_dtype") == ("fp32" if half else None)
    assert "optimizer" not in found and "scheduler" not in found


def test_a_resolved_dict_resolves_to_itself() -> None:
    once = resolve({"zero_optimization": {"stage": 2}}, 2, precision="bf16")
    assert resolve(once, 2, precision="bf16") == once


def test_gradients_are_summed_in_fp32_unless_the_json_says_otherwise() -> None:
    kept = {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "bf16"}}
    assert resolve(kept, precision="bf16")["data_types"]["grad_accum_dtype"] == "bf16"


def test_stage_0_sums_gradients_in_the_training_s_precision_alone() -> None:
    message = refused({"data_types": {"grad_accum_dtype": "float"}}, precision="bf16")
    for part in ("grad_accum_dtype 'float' needs", "stage 1 or more", "zero1.json"):
        assert part in message
    for spelled in ("bf16", "bfloat16", "torch.bfloat16"):
        assert resolve({"data_types": {"grad_accum_dtype": spelled}}, precision="bf16")


OURS = {
    "gradient_accumulation_steps": 10,
    "train_batch_size": 160,
    "train_micro_batch_size_per_gpu": 8,
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True},
    "fp16": {"enabled": False},
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": 6e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1},
    },
}


def auto(table: dict[str, Any]) -> dict[str, Any]:
    return {k: auto(v) if isinstance(v, dict) else "auto" for k, v in table.items()}


AUTO = auto(OURS) | {
    "optimizer": {"type": "AdamW", "params": auto(OURS["optimizer"]["params"])},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": "auto"}},
    "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
}


@pytest.mark.parametrize("raw", [{}, OURS, AUTO], ids=["absent", "equal", "auto"])
def test_what_is_ours_may_be_absent_equal_or_auto(raw: dict[str, Any]) -> None:
    before = deepcopy(raw)
    found = resolve(raw, 2, precision="bf16")
    assert raw == before  # the caller's table stays as it was
    for name in ("gradient_accumulation_steps", "train_batch_size", "bf16", "fp16"):
        assert found[name] == OURS[name]
    assert "auto" not in str(found) and "optimizer" not in found


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"train_batch_size": 99}, ["train_batch_size is 99", "160", "write auto"]),
        ({"train_micro_batch_size_per_gpu": 3}, ["_per_gpu is 3", "8 from the config"]),
        ({"gradient_accumulation_steps": 7}, ["steps is 7", "20 from the config"]),
        ({"gradient_clipping": 0.5}, ["gradient_clipping is 0.5", "1.0"]),
        ({"fp16": {"enabled": True}}, ["fp16.enabled is True", "False from the config"]),
        ({"bfloat16": {"enabled": True}}, ["bf16.enabled is True", "False"]),
        ({"optimizer": {"type": "Lamb"}}, ["'Lamb'", "the optimizer is AdamW"]),
        (
            {"optimizer": {"type": "Adam", "params": {"lr": 1.0, "betas": [0.9, 0.999]}}},
            ["2 faults", "params.lr is 1.0", "0.0006", "params.betas", "[0.9, 0.95]"],
        ),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}}},
            ["scheduler", "optimizer.schedule owns the schedule"],
        ),
        ({"scheduler": {"type": "WarmupLR"}}, ["scheduler", "remove it"]),
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
            ["offload_optimizer.device is 'nvme'", "cpu and none"],
        ),
        (
            {"data_types": {"grad_accum_dtype": "fp64"}},
            ["grad_accum_dtype is 'fp64'", "summed in fp32 or as train.precision, fp32"],
        ),
        (
            {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "bf16"}},
            ["grad_accum_dtype is 'bf16'", "in fp32 or as train.precision, fp32", "remove it"],
        ),
        ({"data_types": {"grad_accum_dtype": ["fp32"]}}, ["grad_accum_dtype is ['fp32']"]),
        (
            {"communication_data_type": "float32"},
            ["communication_data_type is 'float32'", "fp32, fp16, bf16 or left out"],
        ),
        (
            {"zero_optimization": {"stage": 1, "overlap_comm": "false"}},
            ["overlap_comm is the text 'false'", "true or false", "remove the quotes"],
        ),
        (
            {"zero_optimization": {"stage": 1, "cpu_offload": True}},
            ["zero_optimization.cpu_offload", "write zero_optimization.offload_optimizer instead"],
        ),
        (
            {"zero_optimization": {"stage": 3, "max_live_parameters": 10}},
            ["write zero_optimization.stage3_max_live_parameters instead"],
        ),
        ({"zero_optimization": 2}, ["zero_optimization", "2"]),
        ({"bf16": True}, ["bf16", "True", "enabled"]),
        ({"managed_gradient_accumulation": False}, ["managed_gradient_accumulation is False"]),
        ({"timers": True}, ["timers is True", "it is a table"]),
        ({"timers": {"throughput": True}}, ["timers.throughput is True", "it is a table"]),
        ({"optimizer": {"params": 5}}, ["optimizer.params is 5", "it is a table"]),
        ({"scheduler": {"params": 5}}, ["scheduler.params is 5", "it is a table"]),
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
    assert "9 faults" in message
    for part in ("train_batch_size", "gradient_clipping", "fp16.enabled", "optimizer.params.lr"):
        assert part in message
    for part in ("scheduler", "torch_autocast", "zero_optimisation", "needs stage 3", "'nvme'"):
        assert part in message


def test_a_batch_that_does_not_split_is_told_with_the_other_faults() -> None:
    message = refused({"prescale_gradients": True}, 3, global_batch=16, micro_batch=4)
    assert "2 faults" in message and "prescale_gradients" in message and "4 x 3" in message


def test_every_cure_for_a_batch_that_does_not_split_works() -> None:
    cures = 0
    for rows, micro, ranks in itertools.product(range(1, 41), range(1, 13), range(1, 9)):
        train = TrainConfig(global_batch=rows, micro_batch=micro)
        try:
            steps = accumulation(train, ranks)
        except UserError as error:
            message = str(error)
        else:
            assert micro * ranks * steps == rows
            continue
        if ranks > rows:
            assert f"{ranks} ranks" in message and f"{rows} rows" in message
            assert f"at most {rows} ranks" in message
            continue
        portion = f"{micro} x {ranks};" if micro > 1 else f"{ranks} ranks;"  # 1: also for auto
        assert f"{rows} is no multiple" in message and portion in message
        smaller = re.search(r"train\.micro_batch (\d+), which keeps", message)
        assert (smaller is not None) == (rows % ranks == 0), message
        if smaller:
            fit = int(smaller[1])
            again = TrainConfig(global_batch=rows, micro_batch=fit)
            assert fit < micro and fit * ranks * accumulation(again, ranks) == rows
            cures += 1
            continue
        counts = re.search(r"start ([\d or]+) ranks", message)
        for count in counts[1].split(" or ") if counts else ():
            assert accumulation(train, int(count)) * int(count) * micro == rows
        assert (counts is None) == (rows % micro != 0)
        other = int(re.search(r"train\.global_batch (\d+)$", message)[1])
        again = TrainConfig(global_batch=other, micro_batch=micro)
        assert micro * ranks * accumulation(again, ranks) == other
        cures += 1
    assert cures > 1000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ["No such file", "ds_configs/"]),
        ("{", ["not valid JSON"]),
        ("[1]", ["no JSON object"]),
        (b"\xff", ["not valid JSON"]),
    ],
)
def test_a_file_that_is_no_json_object(
    tmp_path: Path, content: str | bytes | None, told: list[str]
) -> None:
    path = tmp_path / "ds.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        deepspeed.read(path)
    assert str(path) in str(caught.value)
    assert not [part for part in told if part not in str(caught.value)], caught.value


MUON = OptimizerConfig(kind="muon")


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("section", [None, {"type": "Muon", "params": {"lr": "auto"}}])
def test_muon_takes_the_stages_that_leave_matrices_whole_or_nearly(
    stage: int, section: dict[str, Any] | None
) -> None:
    raw = {"zero_optimization": {"stage": stage}, "optimizer": section}
    found = deepspeed.resolve(raw, TrainConfig(precision="bf16"), MUON, 2)
    assert deepspeed.zero_stage(found) == stage and "optimizer" not in found


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


@pytest.mark.parametrize("stage", [1, 2])
def test_an_order_of_parameters_that_deepspeed_does_not_tell_is_refused(stage: int) -> None:
    zero = {"stage": stage, "round_robin_gradients": True}
    assert "round_robin_gradients" in refused({"zero_optimization": zero})
    assert resolve({"zero_optimization": zero | {"round_robin_gradients": False}})


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


@pytest.mark.parametrize("name", [*deepspeed._OTHER_NAMES, *deepspeed._OTHER_NAMES.values()])
def test_deepspeed_knows_what_the_json_may_not_have_by_another_name(name: str) -> None:
    known = DeepSpeedZeroConfig.model_fields
    assert name in {*known, *(field.alias for field in known.values())}


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
    assert deepspeed.is_offloaded(raw, name) == is_away
    other = {"optimizer": "param", "param": "optimizer"}[name]
    assert not deepspeed.is_offloaded(raw, other)
    assert not deepspeed.is_offloaded({"zero_optimization": None}, name)
    if section != {"device": "nvme"}:
        assert deepspeed.is_offloaded(resolve(raw), name) == is_away


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_deepspeed_sums_gradients_and_makes_a_bf16_optimizer_where_we_say(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "is_zero_supported_optimizer", lambda optimizer: True)  # has a log
    theirs = engine.DeepSpeedEngine.__new__(engine.DeepSpeedEngine)
    torch.nn.Module.__init__(theirs)
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    made = set()
    for stage, device, sums in itertools.product(
        (1, 2, 3), ("none", "cpu"), (None, *deepspeed._TYPES)
    ):
        if deepspeed._TYPES.get(sums, "fp32") not in ("fp32", precision):
            continue
        zero = {"stage": stage, "offload_optimizer": {"device": device}}
        raw = {"zero_optimization": zero, "data_types": {"grad_accum_dtype": sums}}
        resolved = resolve(raw, precision=precision)
        theirs._config = DeepSpeedConfig(resolved)
        types = [names[dtype] for dtype in theirs.get_data_types()]
        assert types == [deepspeed.precision(resolved), deepspeed.sum_type(resolved)]
        optimizer = theirs._do_optimizer_sanity_check(None)
        assert (optimizer == engine.BFLOAT16) == deepspeed.has_bf16_optimizer(resolved), raw
        made.add(optimizer)
    assert len(made) == (2 if precision == "bf16" else 1)


def test_compiling_always_is_refused_at_stage_3() -> None:
    train, raw = TrainConfig(compile="always"), {"zero_optimization": {"stage": 3}}
    with pytest.raises(UserError, match="use train"):
        deepspeed.resolve(raw, train, OptimizerConfig(), 1)
