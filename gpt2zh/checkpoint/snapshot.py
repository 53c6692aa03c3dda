"""Copy the training state to host memory between two steps.

Only the copy pauses training; it is written to disk during the next steps. The buffers are reused
for the next copy, and pinned (page-locked) where there is a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from gpt2zh.checkpoint import master_weights
from gpt2zh.files.run_folder import STATE_FORMAT
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import get_scaler_state
from gpt2zh.train.optimizer import kind_of
from gpt2zh.train.state import TrainState


@dataclass
class Buffers:
    """Host memory that the snapshots of a run reuse, one at a time."""

    _tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def keep(self, key: str, shape: torch.Size, start: int, values: torch.Tensor) -> None:
        """Copy a slice of a tensor from any device to its place in the buffer of this key.

        A copy from a GPU is asynchronous; `synchronize` waits for it.

        Args:
            key: Name of the tensor.
            shape: Shape of the whole tensor.
            start: First element of the slice.
            values: The slice, flat, fp32.
        """
        buffer = self._tensors.get(key)
        if buffer is None:
            buffer = torch.empty(shape, dtype=torch.float32, pin_memory=values.is_cuda)
            self._tensors[key] = buffer
        buffer.view(-1)[start : start + len(values)].copy_(values, non_blocking=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the buffers by key."""
        return dict(self._tensors)

    def synchronize(self) -> None:
        """Wait until all copies are complete."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Snapshot:
    """The part of a checkpoint that one rank writes."""

    step: int
    weights: dict[str, torch.Tensor]
    """All fp32 weights by parameter name on rank 0; empty on the others."""
    moments: dict[str, torch.Tensor]
    """This rank's share of the optimizer's moments as `<moment>.<parameter name>`, fp32."""
    described: dict[str, Any]
    """The trainer state, as the JSON file will hold it."""


def take(
    engine: Any,
    state: TrainState,
    world: World,
    buffers: Buffers,
    layout: master_weights.Layout | None,
) -> Snapshot:
    """Copy weights, moments and progress; all ranks call it.

    Args:
        engine: The DeepSpeed engine, between two steps.
        state: Progress.
        world: This rank's place.
        buffers: The buffers of the run; they overwrite the previous snapshot.
        layout: The result of `master_weights.find_layout`.
    """
    master_weights.collect(engine, layout, world, buffers.keep)
    buffers.synchronize()
    weights, moments = {}, {}
    for key, tensor in buffers.tensors().items():
        if key.startswith("weight."):
            weights[key.removeprefix("weight.")] = tensor
        else:
            moments[key] = tensor
    described = {
        "format": STATE_FORMAT,
        "optimizer": kind_of(engine.basic_optimizer),
        "progress": state.record,
        "updates": master_weights.count_updates(engine),
        "loss_scale": get_scaler_state(engine),
        "ranks": world.size,
        "zero_stage": engine.zero_optimization_stage(),
    }
    return Snapshot(state.step, weights, moments, described)
