"""One optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpt2zh.data.batch import Batch
from gpt2zh.dist.collectives import sum_over_ranks
from gpt2zh.train import engine as deepspeed_engine


@dataclass(frozen=True)
class StepResult:
    """What one step tells; the tensors stay on the device until somebody logs them."""

    nats: torch.Tensor
    """Summed loss of this rank's targets, shape ()."""
    targets: torch.Tensor
    """Targets of all ranks, shape ()."""
    gradient_norm: torch.Tensor | None
    """Global norm before clipping, shape (); None if not measured."""


def train_step(engine: Any, batches: Sequence[Batch], lr: float) -> StepResult:
    """Accumulate the gradients of `batches`, then update the weights once.

    Every loss is a sum that is divided by the targets of the whole step over all ranks, so the
    gradient does not depend on how the rows were cut into ranks and micro-batches.

    Args:
        engine: The DeepSpeed engine around a `SummedLoss`.
        batches: This rank's micro-batches, as many as the engine accumulates.
        lr: Learning rate of this step.
    """
    deepspeed_engine.set_learning_rate(engine, lr)
    count = float(sum(batch.targets for batch in batches))
    targets = sum_over_ranks(torch.full((), count, device=engine.device))
    # DeepSpeed averages the gradients over the ranks; the factor turns that into their sum.
    factor = engine.dp_world_size / targets.clamp(min=1)
    nats = torch.zeros((), device=engine.device)
    norm = None
    scale = deepspeed_engine.loss_scale(engine) or 1.0
    for number, batch in enumerate(batches, start=1):
        loss = engine(batch.input_ids, batch.labels)
        deepspeed_engine.backward(engine, loss * factor)
        if number == len(batches):
            norm = deepspeed_engine.plain_gradient_norm(engine)
        engine.step()
        nats += loss.detach()
    if norm is None:
        norm = deepspeed_engine.gradient_norm(engine, scale)
    return StepResult(nats, targets, norm)
