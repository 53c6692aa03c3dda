"""Keys of a DeepSpeed JSON that are translated, left out or named as not used."""

from __future__ import annotations

from typing import Any

import pytest
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed_json import refused, resolve

from gpt2zh.config import deepspeed, deepspeed_names
from gpt2zh.config.deepspeed_names import find_unused, translate


def zero(stage: int, **more: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": stage, **more}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (zero(2, cpu_offload=True), zero(2, offload_optimizer={"device": "cpu"})),
        (zero(3, cpu_offload_param=True), zero(3, offload_param={"device": "cpu"})),
        (zero(3, cpu_offload_params=True), zero(3, offload_param={"device": "cpu"})),
        (zero(2, cpu_offload=False, cpu_offload_use_pin_memory=True), zero(2)),
        (
            zero(2, cpu_offload=True, cpu_offload_use_pin_memory=True),
            zero(2, offload_optimizer={"device": "cpu", "pin_memory": True}),
        ),
        (zero(2, cpu_offload=False, offload_optimizer={"device": "none"}),
         zero(2, offload_optimizer={"device": "none"})),
        (zero(3, max_live_parameters=10), zero(3, stage3_max_live_parameters=10)),
        (
            zero(3, stage3_gather_fp16_weights_on_model_save=True),
            zero(3, stage3_gather_16bit_weights_on_model_save=True),
        ),
        ({"bfloat16": {"enabled": True}}, {"bf16": {"enabled": True}}),
        ({"zero_optimization": 2}, {"zero_optimization": 2}),  # other checks refuse it
    ],
)  # fmt: skip
def test_old_names_are_translated(old: dict[str, Any], new: dict[str, Any]) -> None:
    faults: list[str] = []
    assert translate(old, faults) == new and not faults


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (zero(2, cpu_offload=False, offload_optimizer={"device": "cpu"}), "cpu_offload is False"),
        (zero(2, cpu_offload=True, offload_optimizer={"device": "none"}), "cpu_offload is True"),
        (zero(2, cpu_offload=1), "must be true or false"),
        (zero(3, max_reuse_distance=1, stage3_max_reuse_distance=2), "max_reuse_distance is 1"),
        (
            {"bf16": {"enabled": False}, "bfloat16": {"enabled": True}},
            "bfloat16.enabled is True but bf16.enabled is False",
        ),
    ],
)
def test_an_old_and_a_new_name_with_two_values_are_refused(raw: dict[str, Any], told: str) -> None:
    assert told in refused(raw)


def test_an_old_switch_has_the_effect_of_the_new_section() -> None:
    assert deepspeed.is_offloaded(resolve(zero(2, cpu_offload=True)), "optimizer")
    assert "offload_param needs stage 3" in refused(zero(2, cpu_offload_params=True))


@pytest.mark.parametrize("name", [n for n in deepspeed_names.UNUSED if "." not in n])
def test_a_key_without_effect_is_named_and_left_out(name: str) -> None:
    raw = {name: {"enabled": True}}
    (line,) = find_unused(raw)
    assert line.startswith(f"{name} (") and name not in resolve(raw)
    assert list(find_unused({name: {"enabled": False}})) == []


def test_an_order_of_parameters_that_checkpoints_could_not_follow_is_left_out() -> None:
    raw = zero(2, round_robin_gradients=True)
    (line,) = find_unused(raw)
    assert "round_robin_gradients (it would reorder the parameters" in line
    assert resolve(raw)["zero_optimization"] == {"stage": 2}


@pytest.mark.parametrize("name", sorted(deepspeed_names.HARMLESS))
@pytest.mark.parametrize("value", [True, False, 2000])
def test_what_does_no_harm_is_taken_without_a_word(name: str, value: object) -> None:
    assert resolve({name: value}) == resolve({}) and list(find_unused({name: value})) == []


@pytest.mark.parametrize("name", deepspeed_names.OTHER_NAMES.values())
def test_deepspeed_knows_the_names_that_are_written(name: str) -> None:
    known = DeepSpeedZeroConfig.model_fields
    assert name in {*known, *(field.alias for field in known.values())}
