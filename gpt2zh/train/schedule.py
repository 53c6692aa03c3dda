"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from gpt2zh.config.schema import OptimizerConfig


def learning_rate(step: int, *, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of optimizer step `step` (the first is 1, the last is `steps`).

    A linear warm-up reaches the peak at `warmup_steps`; the schedule ends at `final_lr_fraction`
    of the peak. wsd is the warmup-stable-decay of MiniCPM (arXiv 2404.06395).
    """
    if step < config.warmup_steps:
        return config.lr * step / config.warmup_steps
    falling = steps - config.warmup_steps
    if config.schedule == "wsd":
        falling = min(falling, round(config.decay_fraction * steps))
    done = max(0.0, 1 - (steps - step) / max(1, falling))
    return config.lr * _falling(done, config)


def _falling(done: float, config: OptimizerConfig) -> float:
    """Return the fraction of the peak after the share `done` of the decay steps."""
    final = config.final_lr_fraction
    if config.schedule == "cosine":
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "constant":
        return 1.0
    return 1 - (1 - final) * done
