"""What a config leaves open: the ZeRO stage and the micro-batch that fit a device."""

from __future__ import annotations

import dataclasses
from typing import Any

from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.schema import PretrainConfig, TrainConfig
from gpt2zh.cost.memory import largest_micro_batch
from gpt2zh.cost.setting import Setting
from gpt2zh.dist.device import Device

MOST_TOKENS = 131_072
"""Tokens of a micro-batch beyond which no GPU gets faster."""
MOST_ROWS_ON_CPU = 8
"""A CPU is busy with fewer."""
ASSUMED = Device("a GPU of 24 GB", 24 * 2**30, is_gpu=True)
"""Where nobody knows the device."""


def provisional(train: TrainConfig) -> TrainConfig:
    """The same with a micro-batch that is a number, for what does not depend on it."""
    return dataclasses.replace(train, micro_batch=1) if train.micro_batch == "auto" else train


def choose(
    config: PretrainConfig,
    raw: dict[str, Any] | None,
    *,
    vocabulary: int,
    ranks: int,
    device: Device | None,
) -> tuple[PretrainConfig, dict[str, Any]]:
    """Fill in what is open, by estimate; the trial before the first step has the last word.

    Args:
        config: Checked.
        raw: The DeepSpeed JSON; None chooses one.
        vocabulary: Rows of the embedding, padded.
        ranks: Processes.
        device: What each of them computes on; None assumes a GPU of 24 GB.

    Returns:
        The config with a number as its micro-batch, and the JSON.
    """
    asked = config.train.micro_batch
    if raw is not None and asked != "auto":
        return config, raw
    device = device or ASSUMED
    options = profiles.candidates(ranks, config.optimizer.kind) if raw is None else [raw]
    train = config.train
    rows = train.global_batch // ranks
    most = MOST_TOKENS // config.model.context if device.is_gpu else MOST_ROWS_ON_CPU
    wanted = max(1, min(most, rows)) if asked == "auto" else asked
    for option in options:
        resolved = deepspeed.resolve(option, provisional(train), config.optimizer, ranks)
        setting = setting_of(config, resolved, ranks=ranks, on_gpu=device.is_gpu)
        fits = largest_micro_batch(
            config.model, vocabulary, setting, device_bytes=device.memory, most=wanted
        )
        if fits >= (1 if asked == "auto" else asked):
            break
    if asked == "auto":
        fitting = [m for m in range(1, max(fits, 1) + 1) if rows % m == 0]
        train = dataclasses.replace(train, micro_batch=fitting[-1])
    return dataclasses.replace(config, train=train), option


def setting_of(
    config: PretrainConfig, resolved: dict[str, Any], *, ranks: int, on_gpu: bool
) -> Setting:
    """What the memory of a rank depends on.

    Args:
        config: How the model is trained.
        resolved: The dict for DeepSpeed.
        ranks: Processes.
        on_gpu: Whether they compute on GPUs.
    """
    train, zero = config.train, resolved.get("zero_optimization", {})
    compiled = train.compile == "always" or (train.compile == "auto" and on_gpu)
    return Setting(
        precision=train.precision,
        zero=zero,
        ranks=ranks,
        recompute=train.activation_checkpointing,
        compiled=compiled and deepspeed.zero_stage(resolved) < 3,
        on_gpu=on_gpu,
        accumulation=int(resolved["gradient_accumulation_steps"]),
        optimizer=config.optimizer.kind,
        document_mask=train.document_mask,
    )
