"""How a model may be trained, resolved as a run resolves it."""

from __future__ import annotations

from typing import Any

from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.schema import OptimizerConfig, TrainConfig
from gpt2zh.cost.setting import Setting


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
    train = TrainConfig(
        micro_batch=micro_batch,
        global_batch=micro_batch * accumulation * ranks,
        precision=precision,  # type: ignore[arg-type]
    )
    raw = {
        "zero_optimization": zero,
        "data_types": {"grad_accum_dtype": sums},
        "fp16": {"initial_scale_power": 4},  # so that no first step overflows
    }
    config = OptimizerConfig(kind=optimizer)  # type: ignore[arg-type]
    usual = {"recompute": False, "compile": "never", "on_gpu": False}
    resolved = resolve(raw, train, config, ranks)
    return Setting(resolved=resolved, ranks=ranks, optimizer=config.kind, **usual | more)
