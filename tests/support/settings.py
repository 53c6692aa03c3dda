"""How a model may be trained, resolved as a run resolves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.setting import Setting
from tests.support.held.cases import Case


def setting(
    zero: dict[str, Any],
    precision: str = "bf16",
    *,
    ranks: int = 1,
    micro_batch: int = 1,
    accumulation: int = 2,
    sums: str = "auto",
    optimizer: str = "adamw",
    **more: Any,
) -> Setting:
    """A setting, eager on a CPU unless more is told.

    Args:
        zero: The table `zero_optimization` of a DeepSpeed JSON.
        precision: `train.precision`.
        ranks: Processes.
        micro_batch: Rows of a rank and forward pass.
        accumulation: Micro-batches of a step.
        sums: The JSON's `data_types.grad_accum_dtype`.
        optimizer: Its kind.
        more: Further fields.
    """
    case = Case("", ModelConfig(), zero, precision, micro_batch, accumulation)
    case = replace(case, optimizer=optimizer, sums=sums)
    return replace(case.setting(ranks, on_gpu=False), **more)
