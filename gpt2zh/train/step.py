"""One optimizer step.

Sums are divided once: the mean of means is not the mean when micro-batches have different numbers
of targets. Losses are sums over targets, divided by the count of the whole step over all ranks, so
the gradient does not depend on ranks and accumulation.
"""

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
    """The result of one step; the tensors stay on the device until they are logged."""

    nats: tuple[torch.Tensor, ...]
    """Summed loss of each of this rank's micro-batches in nats, shape () each."""
    targets: torch.Tensor
    """Number of targets of all ranks, shape ()."""
    gradient_norm: torch.Tensor | None
    """Global norm before clipping, shape (); None if not measured."""
    applied: bool
    """Whether the weights were updated."""
    refused: bool
    """Whether `StepChecks.refused` rejected the loss."""
    may_overflow: bool
    """Whether fp16's loss scale can still be reduced, so that an overflow is normal."""

    def loss(self) -> float:
        """Return the loss of the step in nats per token over all ranks; all ranks call it."""
        return mean_loss(self.nats, self.targets)

    def fault(self) -> str | None:
        """Return why the weights were not updated; all ranks call it.

        Returns:
            `loss` or `gradient` if that is not finite, `spike` for a rejected loss; None if fp16
            overflowed and reduced its loss scale.
        """
        if self.refused:
            return "spike"
        if not math.isfinite(self.loss()):
            return "loss"
        return None if self.may_overflow else "gradient"


@dataclass(frozen=True)
class StepChecks:
    """Checks within a step; all ranks give the same answers."""

    leaving: Callable[[int], bool] = lambda micro_batch: False
    """Whether to leave the step; called before each micro-batch except the first, with its number
    from 0."""
    refused: Callable[[float], bool] | None = None
    """Whether to reject the loss; called with it in nats per token before the weights are updated.
    None never rejects, and then nothing waits for the loss."""


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

    A loss that is not finite is multiplied into its gradient on the device. This makes the norm
    over all ranks, which is needed anyway, not finite too: so all ranks skip the step, and nothing
    waits for the device to find out.

    Args:
        engine: The DeepSpeed engine around a `SummedLoss`.
        batches: This rank's micro-batches.
        lr: Learning rate of this step.
        seed: Seed of the random numbers of this step on this rank. They depend on nothing else, so
            a step that is repeated, at once or after a crash, draws the same ones.
        watch: Gets a mark at every micro-batch.
        checks: Whether to leave the step or to reject its loss.

    Returns:
        The result; None if the step was left unfinished. Then the weights are unchanged, and the
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
    """Return the seed of the random numbers of one step on one rank."""
    return stream_seed(stream_seed(seed, step), rank + 1)


def mean_loss(nats: Sequence[torch.Tensor], targets: torch.Tensor) -> float:
    """Return the loss of a step in nats per token over all ranks; all ranks call it."""
    return (sum_over_ranks(torch.stack(list(nats)).sum()) / targets).item()
