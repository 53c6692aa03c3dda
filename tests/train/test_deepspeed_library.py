"""What DeepSpeed accepts, asked before a run begins, and how it is imported."""

from __future__ import annotations

import logging
import os

import pytest
import torch

from gpt2zh.config.errors import UserError
from gpt2zh.train.deepspeed_library import (
    check_options,
    check_precision,
    choose_accelerator,
    import_deepspeed,
)


@pytest.mark.parametrize(
    ("zero", "told"),
    [
        ({"stage": 9}, ["zero_optimization.stage: Input should be 0, 1, 2", "(given: 9)"]),
        ({"stag": 1}, ["zero_optimization.stag: Extra inputs are not permitted"]),
        (
            {"reduce_bucket_size": -1, "offload_optimizer": {"device": "gpu"}},
            ["2 faults", "reduce_bucket_size: ", "offload_optimizer.device: ", "(given: 'gpu')"],
        ),
    ],
)
def test_all_that_deepspeed_rejects_is_named_with_its_value(zero: dict, told: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_options({"zero_optimization": zero})
    assert not [part for part in told if part not in str(caught.value)], caught.value


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"progressive_layer_drop": {"enabled": True}}, ["progressive_layer_drop: Progressive"]),
        ({"elasticity": {"enabled": True}}, ["elasticity: Elastic training has been removed"]),
        ({"curriculum_learning": {}}, ["curriculum_learning: Legacy"]),
        ({"compile": {"backend": "inductor"}}, ["compile.backend: Extra inputs"]),
        ({"checkpoint": {"tag_validation": "maybe"}}, ["checkpoint: ", "MAYBE"]),
        (
            {"elasticity": {}, "compile": {"a": 1, "b": 2}, "zero_optimization": {"stag": 1}},
            ["4 faults", "elasticity", "compile.a", "compile.b", "zero_optimization.stag"],
        ),
        ({"fp16": {"enabled": True}, "bf16": {"enabled": True}}, ["simultaneously enabled"]),
    ],
)
def test_all_config_classes_of_deepspeed_are_asked(table: dict, told: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_options(table)
    assert not [part for part in told if part not in str(caught.value)], caught.value
    assert "says DeepSpeed" in str(caught.value)


def test_a_json_without_zero_is_accepted() -> None:
    check_options({})


@pytest.mark.parametrize(("precision", "other"), [("fp16", "bf16"), ("bf16", "fp16")])
def test_a_precision_that_the_device_has_not_is_refused_with_those_it_may_have(
    precision: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that has neither: what this machine has depends on the machine."""
    choose_accelerator()
    from deepspeed.accelerator import get_accelerator

    device = type(get_accelerator())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("is_fp16_supported", "is_bf16_supported"):
        monkeypatch.setattr(device, name, lambda self: False)
    with pytest.raises(UserError, match=f"is {precision}, but .* use {other} or fp32"):
        check_precision(precision)
    check_precision("fp32")
    monkeypatch.setattr(device, f"is_{precision}_supported", lambda self: True)
    check_precision(precision)


def test_bf16_that_an_old_card_only_emulates_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_accelerator()
    from deepspeed.accelerator import get_accelerator

    monkeypatch.setattr(type(get_accelerator()), "is_bf16_supported", lambda self: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, fits in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        if fits:
            check_precision("bf16")
        else:
            with pytest.raises(UserError, match="this device has no bf16"):
                check_precision("bf16")


@pytest.mark.parametrize(
    ("has_gpu", "given", "chosen"),
    [(False, None, "cpu"), (False, "cpu", "cpu"), (True, "cuda", "cuda"), (True, None, None)],
)
def test_the_cpu_is_chosen_where_there_is_no_gpu_and_nobody_has_chosen(
    has_gpu: bool, given: str | None, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setenv("DS_ACCELERATOR", given or "")  # and so it is as before after the test
    if not given:
        monkeypatch.delenv("DS_ACCELERATOR")
    choose_accelerator()
    assert os.environ.get("DS_ACCELERATOR") == chosen


@pytest.mark.slow
def test_deepspeed_is_imported_quietly_and_compiles_nothing_at_its_start() -> None:
    choose_accelerator()
    deepspeed = import_deepspeed()
    assert logging.getLogger("DeepSpeed").level == logging.ERROR
    assert not deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"]


@pytest.mark.parametrize("name", ["npu", "CUDA", "", "gpu"])
def test_an_accelerator_that_runs_do_not_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", name)
    with pytest.raises(UserError, match=f"DS_ACCELERATOR is '{name}'; runs use cpu or cuda"):
        choose_accelerator()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_here_is_refused_before_deepspeed_looks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    with pytest.raises(UserError, match=r"'cuda', but torch .*`unset DS_ACCELERATOR`"):
        choose_accelerator()
