"""A DeepSpeed JSON resolved against defaults of the config, or the message that refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from gpt2zh.config import deepspeed
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig


def resolve(raw: dict[str, Any], ranks: int = 1, **train: Any) -> dict[str, Any]:
    """Return the resolved dict; `train` are options of `TrainConfig`."""
    return deepspeed.resolve(raw, TrainConfig(**train), OptimizerConfig(), ranks)


def refused(raw: dict[str, Any], ranks: int = 1, **train: Any) -> str:
    """Return the message of the `UserError` that `resolve` raises."""
    with pytest.raises(UserError) as caught:
        resolve(raw, ranks, **train)
    return str(caught.value)
