"""A copy of the training state in host memory, taken between two steps.

Only taking it stops the training; it is written to disk beside the next steps. The memory is kept
from one copy to the next, page-locked where there is a GPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from gpt2zh.checkpoint import master_weights
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import get_scaler_state
from gpt2zh.train.optimizer import kind_of
from gpt2zh.train.state import TrainState


@dataclass
class Buffers:
    """Host memory that every snapshot of a run uses anew: one at a time."""

    _tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def keep(self, key: str, shape: torch.Size, start: int, piece: torch.Tensor) -> None:
        """Copy a piece of a tensor of any device to its place in the buffer of this key.

        From a GPU the copy may still be under way; `settle` waits.

        Args:
            key: Name of the tensor.
            shape: Of the whole tensor.
            start: First element of the piece.
            piece: Flat, fp32.
        """
        buffer = self._tensors.get(key)
        if buffer is None:
            buffer = torch.empty(shape, dtype=torch.float32, pin_memory=piece.is_cuda)
            self._tensors[key] = buffer
        buffer.view(-1)[start : start + len(piece)].copy_(piece, non_blocking=True)

    def all(self) -> dict[str, torch.Tensor]:
        """What was kept, by key."""
        return dict(self._tensors)

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
    """This rank's share of the optimizer's moments as `<moment>.<parameter name>`, fp32."""
    described: dict[str, Any]
    """The trainer state as JSON will hold it."""


def take(
    engine: Any,
    state: TrainState,
    world: World,
    buffers: Buffers,
    pieces: master_weights.Layout | None,
) -> Snapshot:
    """Copy weights, moments and progress; all ranks together.

    Args:
        engine: The DeepSpeed engine, between two steps.
        state: Progress.
        world: This rank's place.
        buffers: Of the run; an older snapshot in them is gone.
        pieces: Of `master_weights.find_layout`.
    """
    master_weights.collect(engine, pieces, world, buffers.keep)
    buffers.settle()
    weights, moments = {}, {}
    for key, tensor in buffers.all().items():
        if key.startswith("weight."):
            weights[key.removeprefix("weight.")] = tensor
        else:
            moments[key] = tensor
    described = {
        "format": 2,
        "optimizer": kind_of(engine.basic_optimizer),
        "progress": asdict(state),
        "updates": master_weights.updates_made(engine),
        "loss_scale": get_scaler_state(engine),
        "ranks": world.size,
        "zero_stage": engine.zero_optimization_stage(),
    }
    return Snapshot(state.step, weights, moments, described)
