"""The DeepSpeed settings that come with the project.

The package uses these and needs no files. ds_configs/ has the same settings as files for the
command line, and a test compares them.

Buckets have 1e8 elements instead of DeepSpeed's 5e8, since two such buckets would be larger than
GPT-2 small.
"""

from __future__ import annotations

from typing import Any

BUCKET = 100_000_000
"""Elements that are reduced or gathered at a time."""

_OFFLOAD = {"device": "cpu", "pin_memory": True}


def profile(stage: int, *, offload: bool = False) -> dict[str, Any]:
    """Return the DeepSpeed JSON of a ZeRO stage.

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
    """Return the JSONs to try for a model, the fastest first: the first that fits is the best.

    Stage 1 sends gradients once a step, stages 2 and 3 with every micro-batch (DeepSpeed's
    engine.allreduce_gradients), so these are for models that do not fit otherwise. With a single
    rank, stages 2 and 3 save nothing without offload.

    Args:
        ranks: Number of processes.
    """
    stages = (1, 2, 3) if ranks > 1 else (1,)
    away = [profile(stage, offload=True) for stage in (2, 3)]
    return [*(profile(stage) for stage in stages), *away]
