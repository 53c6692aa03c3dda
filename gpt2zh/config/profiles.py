"""The DeepSpeed settings that come with the project.

This is their only source: the package works without files. ds_configs/ shows the same as files for
the command line, and a test compares them.

Buckets of 1e8 numbers instead of DeepSpeed's 5e8: of a GPT-2 small two of those would be larger
than the model.
"""

from __future__ import annotations

from typing import Any

BUCKET = 100_000_000
"""Numbers that are reduced or gathered at a time."""

_OFFLOAD = {"device": "cpu", "pin_memory": True}


def profile(stage: int, *, offload: bool = False) -> dict[str, Any]:
    """The DeepSpeed JSON of a ZeRO stage.

    Args:
        stage: 0 to 3.
        offload: Keep the optimizer in host memory, at stage 3 the weights too; needs stage 2 or 3.
    """
    zero: dict[str, Any] = {"stage": stage}
    if stage:
        zero["reduce_bucket_size"] = BUCKET
    if stage in (1, 2):
        zero["allgather_bucket_size"] = BUCKET
    if stage >= 2:
        zero |= {"overlap_comm": True, "contiguous_gradients": True}
    if offload:
        zero["offload_optimizer"] = _OFFLOAD
        if stage == 3:
            zero["offload_param"] = _OFFLOAD
    return {"zero_optimization": zero}


def candidates(ranks: int) -> list[dict[str, Any]]:
    """What to try for a model, the fastest first: of those that fit, the first is the best.

    Stage 1 sends gradients once a step, 2 and 3 with every micro-batch (DeepSpeed's
    engine.allreduce_gradients), so they are for models that do not fit otherwise. A single rank has
    nobody to share with.

    Args:
        ranks: Processes.
    """
    stages = (1, 2, 3) if ranks > 1 else (1,)
    away = [profile(stage, offload=True) for stage in (2, 3)]
    return [*(profile(stage) for stage in stages), *away]
