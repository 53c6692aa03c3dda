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
from deepspeed_json import refused, resolve
from known_json import REFUSED, TAKEN

from gpt2zh.config import deepspeed, deepspeed_checks
from gpt2zh.config.batch import count_accumulation_steps
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig
from gpt2zh.train.deepspeed_library import find_faults as find_deepspeed_faults

ROOT = Path(__file__).parents[2]
OPTIMIZER = OptimizerConfig()


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


@pytest.mark.slow  # importing DeepSpeed starts a process
@pytest.mark.parametrize("name", TAKEN)
def test_jsons_of_other_projects_are_taken_as_they_are(name: str) -> None:
    raw = TAKEN[name]
    half = raw.get("bf16", {}).get("enabled") is True
    resolved = resolve(raw, 2, precision="bf16" if half else "fp32")
    assert find_deepspeed_faults(resolved) == []
    assert resolved["steps_per_print"] is None and "round_robin_gradients" not in str(resolved)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_jsons_of_other_projects_are_refused_with_all_that_is_wrong(name: str) -> None:
    raw, told = REFUSED[name]
    filled, faults = deepspeed.draft(raw, TrainConfig(), OPTIMIZER, 2)
    message = "\n".join([*faults, *find_deepspeed_faults(filled)])
    assert not [part for part in told if part not in message], message


def test_a_resolved_dict_resolves_to_itself() -> None:
    once = resolve({"zero_optimization": {"stage": 2}}, 2, precision="bf16")
    assert resolve(once, 2, precision="bf16") == once


def test_gradients_are_summed_in_fp32_unless_the_json_says_otherwise() -> None:
    kept = {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "bf16"}}
    assert resolve(kept, precision="bf16")["data_types"]["grad_accum_dtype"] == "bf16"


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


def test_a_batch_that_does_not_split_is_told_with_the_other_faults() -> None:
    message = refused({"prescale_gradients": True}, 3, global_batch=16, micro_batch=4)
    assert "2 faults" in message and "prescale_gradients" in message and "4 x 3" in message


def test_every_cure_for_a_batch_that_does_not_split_works() -> None:
    cures = 0
    for rows, micro, ranks in itertools.product(range(1, 41), range(1, 13), range(1, 9)):
        train = TrainConfig(global_batch=rows, micro_batch=micro)
        try:
            steps = count_accumulation_steps(train, ranks)
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
        assert f"{rows} is not a multiple" in message and portion in message
        smaller = re.search(r"train\.micro_batch (\d+), which keeps", message)
        assert (smaller is not None) == (rows % ranks == 0), message
        if smaller:
            fit = int(smaller[1])
            again = TrainConfig(global_batch=rows, micro_batch=fit)
            assert fit < micro and fit * ranks * count_accumulation_steps(again, ranks) == rows
            cures += 1
            continue
        counts = re.search(r"start ([\d or]+) ranks", message)
        for count in counts[1].split(" or ") if counts else ():
            assert count_accumulation_steps(train, int(count)) * int(count) * micro == rows
        assert (counts is None) == (rows % micro != 0)
        other = int(re.search(r"train\.global_batch (\d+)$", message)[1])
        again = TrainConfig(global_batch=other, micro_batch=micro)
        assert micro * ranks * count_accumulation_steps(again, ranks) == other
        cures += 1
    assert cures > 1000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ["No such file", "ds_configs/"]),
        ("{", ["not valid JSON"]),
        ("[1]", ["holds a list; it must be a JSON object"]),
        (b"\xff", ["not valid JSON", "save it as UTF-8"]),
        ('{"bf16": {},\n"bf16": {}}', ["the key 'bf16' is written twice, in lines 1 and 2"]),
    ],
)
def test_a_file_without_a_json_object_is_refused(
    tmp_path: Path, content: str | bytes | None, told: list[str]
) -> None:
    path = tmp_path / "ds.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        deepspeed.read(path)
    assert str(path) in str(caught.value)
    assert not [part for part in told if part not in str(caught.value)], caught.value


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 1}}', "utf-8-sig")
    assert deepspeed.read(path) == {"zero_optimization": {"stage": 1}}


MUON = OptimizerConfig(kind="muon")


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("section", [None, {"type": "Muon", "params": {"lr": "auto"}}])
def test_muon_takes_the_stages_that_leave_matrices_whole_or_nearly(
    stage: int, section: dict[str, Any] | None
) -> None:
    raw = {"zero_optimization": {"stage": stage}, "optimizer": section}
    found = deepspeed.resolve(raw, TrainConfig(precision="bf16"), MUON, 2)
    assert deepspeed.zero_stage(found) == stage and "optimizer" not in found


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
        (1, 2, 3), ("none", "cpu"), (None, *deepspeed_checks.TYPES)
    ):
        if deepspeed_checks.TYPES.get(sums, "fp32") not in ("fp32", precision):
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
