"""Numbers of a DeepSpeed JSON that the config owns: each contradiction names our option."""

from __future__ import annotations

from typing import Any

import pytest
from deepspeed_json import refused, resolve

from gpt2zh.config import deepspeed
from gpt2zh.config.schema import OptimizerConfig, TrainConfig


@pytest.mark.parametrize(
    ("raw", "cure"),
    [
        ({"train_batch_size": 64}, "set --train.global_batch 64"),
        ({"train_micro_batch_size_per_gpu": 2}, "set --train.micro_batch 2"),
        ({"gradient_accumulation_steps": 2}, "it follows from train.global_batch, train.micro_"),
        ({"gradient_clipping": 0.5}, "set --optimizer.max_grad_norm 0.5"),
        ({"bf16": {"enabled": True}}, "set --train.precision bf16"),
        ({"fp16": {"enabled": True}}, "set --train.precision fp16"),
        ({"optimizer": {"params": {"lr": 1.0}}}, "set --optimizer.lr 1.0"),
        ({"optimizer": {"params": {"eps": 1.0}}}, "set --optimizer.eps 1.0"),
        ({"optimizer": {"params": {"weight_decay": 1.0}}}, "set --optimizer.weight_decay 1.0"),
        ({"optimizer": {"params": {"betas": [0.5, 0.6]}}}, "--optimizer.beta1 0.5 --optimizer.be"),
        ({"optimizer": {"params": {"betas": 3}}}, "remove the section"),
        ({"optimizer": {"type": "Muon"}}, "set --optimizer.kind muon"),
        ({"optimizer": {"type": "Lamb"}}, "remove the section"),
        ({"scheduler": {"type": "OneCycle"}}, "remove the section"),
        ({"scheduler": {"type": "WarmupDecayLR"}}, "set --optimizer.schedule linear"),
        ({"scheduler": {"params": {"warmup_max_lr": 2.0}}}, "set --optimizer.lr 2.0"),
        ({"scheduler": {"params": {"total_num_steps": 9}}}, "set --train.steps 9"),
        ({"scheduler": {"params": {"warmup_min_lr": 0.1}}}, "it is always 0 here"),
        ({"scheduler": {"params": {"warmup_type": "log"}}}, "it is always 'linear' here"),
    ],
    ids=str,
)
def test_a_contradiction_names_the_option_that_takes_the_value(
    raw: dict[str, Any], cure: str
) -> None:
    assert cure in refused(raw)


def test_the_cures_make_a_json_of_another_project_fit() -> None:
    raw = {
        "train_batch_size": 64,
        "gradient_clipping": 0.5,
        "bf16": {"enabled": True},
        "optimizer": {"type": "Adam", "params": {"lr": 3e-5, "betas": [0.8, 0.999]}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0, "warmup_num_steps": 5}},
    }
    train = TrainConfig(global_batch=64, precision="bf16")
    optimizer = OptimizerConfig(
        lr=3e-5, beta1=0.8, beta2=0.999, max_grad_norm=0.5, schedule="constant", warmup_steps=5
    )
    assert deepspeed.resolve(raw, train, optimizer, 2)["train_batch_size"] == 64


def test_timers_that_would_wait_for_the_gpu_stay_off_without_a_word() -> None:
    resolved = resolve({"timers": {"throughput": {"enabled": True}}})
    assert resolved["timers"] == {"throughput": {"enabled": False}}
