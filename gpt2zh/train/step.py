"""One optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpt2zh.data.batch import Batch
from gpt2zh.data.order import stream_seed
from gpt2zh.ranks.control import sum_over_ranks
from gpt2zh.ranks.watch import Watch
from gpt2zh.train import engine as deepspeed_engine


@dataclass(frozen=True)
class StepResult:
    """What one step tells; the tensors stay on the device until somebody logs them."""

    nats: tuple[torch.Tensor, ...]
    """Summed loss of the targets of each of this rank's micro-batches, shape () each."""
    targets: torch.Tensor
    """Targets of all ranks, shape ()."""
    gradient_norm: torch.Tensor | None
    """Global norm before clipping, shape (); None if not measured."""
    applied: bool
    """Whether the weights were updated."""
    refused: bool
    """Whether the caller refused the loss."""
    may_overflow: bool
    """Whether fp16's loss scale can still be lowered, which makes overflow an ordinary thing."""

    def loss(self) -> float:
        """The loss of the step in nats per token over all ranks, which ask together."""
        return mean_loss(self.nats, self.targets)

    def fault(self) -> str | None:
        """Why the weights were left as they were; all ranks ask together.

        Returns:
            `loss` or `gradient` for one that is not finite, `spike` for a loss that was refused;
            None if fp16 overflowed and lowered its loss scale.
        """
        if self.refused:
            return "spike"
        if not math.isfinite(self.loss()):
            return "loss"
        return None if self.may_overflow else "gradient"


@dataclass(frozen=True)
class StepChecks:
    """Questions that are asked within a step; all ranks answer alike."""

    leaving: Callable[[int], bool] = lambda micro_batch: False
    """Whether to leave the step, asked before each micro-batch but the first, by its number from
    0."""
    refused: Callable[[float], bool] | None = None
    """Whether to refuse the loss, asked with it in nats per token before the weights are updated;
    None never refuses, and then nothing waits for the loss."""


NO_CHECKS = StepChecks()


def train_step(
    engine: Any,
    batches: Sequence[Batch[torch.Tensor]],
    lr: float,
    *,
    seed: int,
    watch: Watch,
    checks: StepChecks = NO_CHECKS,
) -> StepResult | None:
    """Accumulate the gradients of `batches`, then update the weights once.

    Every loss is a sum that is divided by the targets of the whole step over all ranks, so the
    gradient does not depend on how the rows were cut into ranks and micro-batches.

    A loss that is not finite makes every gradient not finite, and with them the norm over all
    ranks: so all of them leave the weights alone, and nothing waits for the device to find out.

    Args:
        engine: The DeepSpeed engine around a `SummedLoss`.
        batches: This rank's micro-batches.
        lr: Learning rate of this step.
        seed: Of the random numbers of this step on this rank. They depend on nothing else, so a
            step that is taken again, after a crash or on the spot, draws the same ones.
        watch: Marks every micro-batch.
        checks: Whether to leave the step or to refuse its loss.

    Returns:
        The result; None if the step was left half done. The weights are as before it then, and the
        caller must exit: partial gradients remain in the engine.
    """
    torch.manual_seed(seed)
    deepspeed_engine.set_learning_rate(engine, lr)
    count = float(sum(batch.targets for batch in batches))
    targets = sum_over_ranks(torch.full((), count, device=engine.device))
    # DeepSpeed averages the gradients over the ranks; the factor turns that into their sum.
    factor = engine.dp_world_size / targets.clamp(min=1)
    nats: list[torch.Tensor] = []
    spike = False
    for number, batch in enumerate(batches):
        if number and checks.leaving(number):
            return None
        watch.mark(f"computing micro-batch {number + 1} of {len(batches)}")
        last = number + 1 == len(batches)
        deepspeed_engine.begin_micro_batch(engine, is_last=last)
        loss = engine(batch.input_ids, batch.labels)
        nats.append(loss.detach())
        if last and checks.refused is not None:
            spike = checks.refused(mean_loss(nats, targets))
        guard = torch.where(loss.detach().isfinite() & (not spike), 1.0, math.nan)
        deepspeed_engine.backward(engine, loss * factor * guard)
        if not last:
            engine.step()
    watch.mark("updating the weights")
    update = deepspeed_engine.update_weights(engine)
    return StepResult(tuple(nats), targets, update.norm, update.applied, spike, update.may_overflow)


def step_seed(seed: int, *, step: int, rank: int) -> int:
    """The seed of the random numbers of one step on one rank."""
    return stream_seed(stream_seed(seed, step), rank + 1)


def mean_loss(nats: Sequence[torch.Tensor], targets: torch.Tensor) -> float:
    """The loss of a step in nats per token over all ranks, which ask together."""
    return (sum_over_ranks(torch.stack(list(nats)).sum()) / targets).item()
