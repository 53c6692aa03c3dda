"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from gpt2zh.config.schema import OptimizerConfig


def learning_rate(step: int, *, steps: int, config: OptimizerConfig) -> float:
    """The learning rate of optimizer step `step` (the first is 1, the last is `steps`).

    A linear warm-up reaches the peak at `warmup_steps`; what follows ends at
    `final_lr_fraction` of it. wsd is the warmup-stable-decay of MiniCPM (arXiv 2404.06395).
    """
    if step < config.warmup_steps:
        return config.lr * step / config.warmup_steps
    span = max(1, steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    return config.lr * _after_warmup(done, config)


def _after_warmup(done: float, config: OptimizerConfig) -> float:
    """Fraction of the peak when the share `done` of the steps after the warm-up is over."""
    final = config.final_lr_fraction
    if config.schedule == "cosine":
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "linear":
        return 1 - (1 - final) * done
    if config.schedule == "wsd":
        start = 1 - config.decay_fraction
        return 1.0 if done <= start else 1 - (1 - final) * (done - start) / config.decay_fraction
    return 1.0
