"""Check the numbers of a config, without reading any file."""

from __future__ import annotations

import math

from gpt2zh.config.schema import TrainingConfig

SMALLEST_WINDOW = 16
"""Losses that are needed before a step can count as a spike."""


def config_faults(config: TrainingConfig) -> list[str]:
    """Return the faults of a config, one sentence each; empty if it is valid."""
    return [*_range_faults(config), *_guard_faults(config)] or _contradictions(config)


def _range_faults(config: TrainingConfig) -> list[str]:
    """Return the numbers that are out of range."""
    model, train, optimizer = config.model, config.train, config.optimizer
    least_one = {
        "model.layers": model.layers,
        "model.heads": model.heads,
        "model.width": model.width,
        "train.global_batch": train.global_batch,
        "train.micro_batch": 1 if train.micro_batch == "auto" else train.micro_batch,
        "guard.bad_steps": config.guard.bad_steps,
        "log.every": config.log.every,
        "train.steps": 1 if train.steps is None else train.steps,
    }
    found = [f"{name} is {n}; it must be 1 or more" for name, n in least_one.items() if n < 1]
    if model.context < 2:
        found.append(f"model.context is {model.context}; it must be 2 or more")
    at_least_zero = {
        "seed": config.seed,
        "optimizer.warmup_steps": optimizer.warmup_steps,
        "optimizer.weight_decay": optimizer.weight_decay,
        "optimizer.eps": optimizer.eps,
        "optimizer.final_lr_fraction": optimizer.final_lr_fraction,
        "optimizer.max_grad_norm": optimizer.max_grad_norm,
        "checkpoint.keep_every": config.checkpoint.keep_every,
        "guard.spike": config.guard.spike,
        "validation.rows": config.validation.rows,
        "validation.sample_tokens": config.validation.sample_tokens,
        "validation.patience": config.validation.patience,
    }
    found += [
        f"{name} is {value}; it must be 0 or more"
        for name, value in at_least_zero.items()
        if not value >= 0
    ]
    shares = {
        "model.dropout": model.dropout,
        "optimizer.beta1": optimizer.beta1,
        "optimizer.beta2": optimizer.beta2,
        "optimizer.momentum": optimizer.momentum,
    }
    found += [
        f"{name} is {value}; it must be at least 0 and below 1"
        for name, value in shares.items()
        if not 0 <= value < 1
    ]
    return found


def _guard_faults(config: TrainingConfig) -> list[str]:
    """Return settings with which checkpoints, spikes and hangs would not be guarded."""
    found = []
    if config.checkpoint.keep_last < 2:
        found.append(
            f"checkpoint.keep_last is {config.checkpoint.keep_last}; it must be 2 or more, since a "
            "disk may damage one checkpoint"
        )
    if config.guard.spike and config.guard.spike_window < SMALLEST_WINDOW:
        found.append(
            f"guard.spike_window is {config.guard.spike_window}; it must be {SMALLEST_WINDOW} or "
            "more, since fewer losses have no reliable standard deviation"
        )
    if config.guard.hang_after.steps:
        found.append(
            f"guard.hang_after is {config.guard.hang_after}; it must be a time, such as 10min"
        )
    return found


def _contradictions(config: TrainingConfig) -> list[str]:
    """Return the contradictions between numbers that are each valid."""
    model, train, optimizer = config.model, config.train, config.optimizer
    found = []
    if model.width % model.heads:
        found.append(f"model.width {model.width} is not a multiple of model.heads {model.heads}")
    if any(length < 2 for length, _ in train.sequence_length_warmup.stages):
        found.append(
            f"train.sequence_length_warmup {train.sequence_length_warmup} has sequences of 1 "
            "token; a loss needs two tokens, so use 2 or more"
        )
    found += [
        f"train.sequence_length_warmup has sequences of {length} tokens, which do not divide "
        f"model.context {model.context}; use one of {_divisors(model.context)}"
        for length, _ in train.sequence_length_warmup.stages
        if model.context % length
    ]
    judges = {
        "validation.patience": config.validation.patience,
        "checkpoint.keep_best": config.checkpoint.keep_best,
    }
    if not config.validation.every:
        found += [
            f"{name} is {value}, but validation.every is never; set it, such as to 500steps"
            for name, value in judges.items()
            if value
        ]
    if train.steps is None and not 0 < train.epochs < math.inf:
        found.append(f"train.epochs is {train.epochs}; it must be above 0 and finite")
    if not 0 < optimizer.lr < math.inf:
        found.append(f"optimizer.lr is {optimizer.lr}; it must be above 0 and finite")
    if not 0 < optimizer.decay_fraction <= 1:
        found.append(
            f"optimizer.decay_fraction is {optimizer.decay_fraction}; it must be above 0 and at "
            "most 1"
        )
    return found


def _divisors(number: int) -> str:
    """Return the divisors of a number that are useful lengths, largest first, as text."""
    found = [str(part) for part in range(number // 2, 7, -1) if number % part == 0]
    return ", ".join(found) or f"{number} (it has no useful divisors)"
