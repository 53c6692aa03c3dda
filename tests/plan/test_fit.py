"""What a config leaves open is filled in by what fits a device."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.schema import ModelConfig, OptimizerConfig, PretrainConfig, TrainConfig
from gpt2zh.cost.memory import training_memory
from gpt2zh.plan.fit import (
    MOST_ROWS_ON_CPU,
    MOST_TOKENS,
    Fit,
    choose,
)
from gpt2zh.plan.setup import setting_of
from gpt2zh.ranks.device import Device

V = 32_000
SMALL = ModelConfig()
LARGE = ModelConfig(layers=36, heads=20, width=1280)
XL = ModelConfig(layers=48, heads=25, width=1600)


def gpu(gigabytes: float) -> Device:
    return Device("a GPU", int(gigabytes * 2**30), is_gpu=True)


def choice(
    model: ModelConfig,
    device: Device,
    ranks: int = 1,
    kind: str = "adamw",
    raw: dict | None = None,
    **train: object,
) -> Fit:
    settings = {"global_batch": 960, "micro_batch": "auto", "precision": "bf16", **train}
    config = PretrainConfig(
        data=("shards",),
        output=Path("run"),
        model=model,
        train=TrainConfig(**settings),  # type: ignore[arg-type]
        optimizer=OptimizerConfig(kind=kind),  # type: ignore[arg-type]
    )
    return choose(config, raw, vocabulary=V, ranks=ranks, device=lambda: device)


def chosen(*what: object, **named: object) -> tuple[TrainConfig, dict]:
    """What fits, as nothing is warned of: the batch, and the table of ZeRO."""
    found = choice(*what, **named)  # type: ignore[arg-type]
    assert found.warning is None
    return found.config.train, found.raw["zero_optimization"]


@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("model", [SMALL, ModelConfig(layers=24, heads=16, width=1024)])
def test_models_up_to_350_million_take_stage_1_on_a_card_of_24_gb(
    model: ModelConfig, ranks: int
) -> None:
    _, zero = chosen(model, gpu(23.7), ranks)
    assert zero["stage"] == 1
    assert zero["reduce_bucket_size"] == zero["allgather_bucket_size"] == 100_000_000


def test_a_model_that_does_not_fit_is_split_further_and_then_offloaded() -> None:
    stages = {}
    for name, device, ranks in (
        ("alone on 141 GB", gpu(141), 1),
        ("alone on 24 GB", gpu(23.7), 1),
        ("eight of 24 GB", gpu(23.7), 8),
    ):
        train, zero = chosen(XL, device, ranks, activation_checkpointing=True)
        stages[name] = (zero["stage"], "offload_optimizer" in zero)
        assert train.rows_at_once >= 1
    assert stages["alone on 141 GB"] == (1, False)
    assert stages["alone on 24 GB"] == (2, True)
    assert stages["eight of 24 GB"] == (1, False)


def test_muon_is_never_cut_or_offloaded() -> None:
    found = choice(XL, gpu(8), 8, kind="muon")
    zero = found.raw["zero_optimization"]
    assert zero["stage"] == 2 and "offload_optimizer" not in zero
    assert found.warning == (
        "by estimate not even one row fits a GPU (8.0 GiB) with any JSON of ds_configs/; "
        "`gpt2zh plan --gpu CARD --ranks N` shows what fits"
    )


def test_what_shall_always_be_compiled_is_not_cut() -> None:
    """Stage 3 would be refused, though nobody has asked for it."""
    assert chosen(XL, gpu(10), 8, compile="auto")[1]["stage"] == 3
    _, zero = chosen(XL, gpu(10), 8, compile="always")
    assert zero["stage"] == 2 and "offload_optimizer" in zero


def test_a_micro_batch_that_fits_no_stage_does_not_end_in_the_slowest_one() -> None:
    found = choice(SMALL, gpu(24), micro_batch=960)
    assert found.raw == profiles.profile(1) and found.config.train.micro_batch == 960
    told = r"train.micro_batch 960 does not fit a GPU \(24.0 GiB\), but (\d+) would with (\S+),"
    match = re.search(told, str(found.warning))
    assert match is not None and match[2] == "ds_configs/zero1.json"
    assert 120 <= int(match[1]) < 160
    assert chosen(SMALL, gpu(24), micro_batch=120)[1]["stage"] == 1


def test_a_device_is_only_asked_where_something_is_open() -> None:
    def ask() -> Device:
        raise AssertionError

    config = PretrainConfig(data=("shards",), output=Path("run"))
    raw = profiles.profile(2)
    assert choose(config, raw, vocabulary=V, ranks=1, device=ask) == Fit(config, raw)
    with pytest.raises(AssertionError):
        choose(config, None, vocabulary=V, ranks=1, device=ask)


@pytest.mark.parametrize("gigabytes", [10, 23.7, 47, 79, 141])
def test_the_micro_batch_is_the_largest_that_fits_and_divides(gigabytes: float) -> None:
    device = gpu(gigabytes)
    train, zero = chosen(SMALL, device, raw=profiles.profile(1))
    rows = train.rows_at_once
    assert 960 % rows == 0 and rows * SMALL.context <= MOST_TOKENS
    config = PretrainConfig(data=("shards",), output=Path("run"), train=train)
    resolved = deepspeed.resolve({"zero_optimization": zero}, train, config.optimizer, 1)
    setting = setting_of(config, resolved, ranks=1, on_gpu=True)
    assert training_memory(SMALL, V, setting, micro_batch=rows).total < device.memory
    larger = [n for n in range(rows + 1, MOST_TOKENS // SMALL.context + 1) if 960 % n == 0]
    if larger:
        needed = training_memory(SMALL, V, setting, micro_batch=larger[0]).total
        assert needed > 0.9 * device.memory


def test_a_larger_card_takes_more_rows() -> None:
    found = [chosen(SMALL, gpu(size))[0].rows_at_once for size in (6, 12, 24, 48)]
    assert found == sorted(found) and found[0] < found[-1]


def test_what_does_not_fit_at_all_is_tried_with_one_row() -> None:
    found = choice(XL, gpu(1))
    zero = found.raw["zero_optimization"]
    assert found.config.train.micro_batch == 1 and zero["stage"] == 3 and "offload_param" in zero
    assert found.warning is not None and "not even one row fits" in found.warning
    given = choice(XL, gpu(1), raw=profiles.profile(1))
    assert given.raw == profiles.profile(1) and given.warning is not None
    assert "with this DeepSpeed JSON" in given.warning


def test_what_is_given_stays() -> None:
    raw = {"zero_optimization": {"stage": 0}}
    train, zero = chosen(XL, gpu(1), micro_batch=5, global_batch=10, raw=raw)
    assert (train.rows_at_once, zero) == (5, {"stage": 0})


def test_a_cpu_gets_few_rows() -> None:
    train, _ = chosen(SMALL, Device("CPU", 20 * 2**30, is_gpu=False), precision="fp32")
    assert 1 <= train.rows_at_once <= MOST_ROWS_ON_CPU
