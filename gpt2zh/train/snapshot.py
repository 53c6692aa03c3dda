"""A copy of the training state in host memory, taken between two steps.

Only taking it stops the training; it is written to disk beside the next steps. The memory is kept
from one copy to the next, page-locked where there is a GPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from gpt2zh.dist.world import World
from gpt2zh.train import masters
from gpt2zh.train.engine import hidden_model, scaler_state
from gpt2zh.train.state import TrainState


@dataclass
class Buffers:
    """Host memory that every snapshot of a run uses anew: one at a time."""

    _tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def copy(self, key: str, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor of any device to the buffer of this key, and return that.

        From a GPU the copy may still be under way; `settle` waits.
        """
        buffer = self._tensors.get(key)
        if buffer is None:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._tensors[key] = buffer
        return buffer.copy_(tensor.detach(), non_blocking=True)

    def settle(self) -> None:
        """Wait until all copies have arrived."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Snapshot:
    """What one rank writes of a checkpoint."""

    step: int
    weights: dict[str, torch.Tensor]
    """All fp32 weights by parameter name, on rank 0; nothing on the others."""
    moments: dict[str, torch.Tensor]
    """This rank's share of AdamW's moments as `<moment>.<parameter name>`, fp32."""
    described: dict[str, Any]
    """The trainer state as JSON will hold it."""


def take(engine: Any, state: TrainState, world: World, buffers: Buffers) -> Snapshot:
    """Copy weights, moments and progress; all ranks together.

    Every rank gets whole tensors one by one and keeps those that it will write.

    Args:
        engine: The DeepSpeed engine, between two steps.
        state: Progress.
        world: This rank's place.
        buffers: Of the run; an older snapshot in them is gone.
    """
    weights: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}
    loads = [0] * world.size
    loads[0] = sum(_numel(p) for p in hidden_model(engine).parameters())  # it writes the weights
    for master in masters.collect(engine):
        owner = loads.index(min(loads))
        loads[owner] += 2 * master.weight.numel()
        if world.is_main:
            weights[master.name] = buffers.copy(f"weight.{master.name}", master.weight)
        if owner == world.rank:
            for kind, value in master.moments.items():
                key = f"{kind}.{master.name}"
                moments[key] = buffers.copy(key, value)
    buffers.settle()
    described = {
        "format": 2,
        "progress": asdict(state),
        "updates": masters.updates_made(engine),
        "loss_scale": scaler_state(engine),
        "ranks": world.size,
        "zero_stage": engine.zero_optimization_stage(),
    }
    return Snapshot(state.step, weights, moments, described)


def _numel(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))
