"""Count what the ranks send each other in an optimizer step, by ZeRO stage. Pure arithmetic.

The rules are read from the source of DeepSpeed 0.19.8, and tests/cost/test_traffic.py compares them
with every collective of real ranks. In short, for P parameters:

* Stage 0 adds up all gradients once a step: all-reduce of P.
* Stage 1 does the same, then gathers the weights that each rank has updated: all-gather of P. That
  is 6 bytes a parameter in bf16, against 4 at stage 0. Gradients are not reduce-scattered as in
  ZeRO's paper: DeepSpeed merges the parts of all ranks into one all-reduce
  (`use_multi_rank_bucket_allreduce`), and so does BF16_Optimizer.
* Stage 2 adds up the gradients of every micro-batch: all-reduce of P for each, all-gather of P.
* Stage 3 gathers the weights and reduce-scatters the gradients of every micro-batch.

Gradients are sent in the training's precision, even if they are summed in fp32, unless the JSON's
`communication_data_type` says otherwise. Flags and norms of a few numbers are not counted. A tensor
that is larger than a bucket counts as one collective, although DeepSpeed may divide it. ZeRO++
(hpz, quantized weights or gradients) is not supported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gpt2zh.config.deepspeed import has_bf16_optimizer
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.gathers import Limits, simulate_gathers
from gpt2zh.cost.setting import DEEPSPEED_BUCKET, Setting
from gpt2zh.cost.weights import Weight, Weights, count_padded, find_owners, weights_of

Kind = Literal["all-reduce", "reduce", "reduce-scatter", "all-gather"]


@dataclass(frozen=True)
class Transfer:
    """One collective over all ranks."""

    kind: Kind
    elements: int
    """Elements of the whole tensor, padding included."""
    width: int
    """Bytes of an element."""
    at: float = 1.0
    """Fraction of the pass that is done when it can start; for weights of a forward pass, the
    fraction that does not need them."""

    @property
    def bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.elements * self.width

    def sent(self, ranks: int) -> float:
        """Return the bytes that each rank sends, by a ring algorithm."""
        return self.bytes * (2 if self.kind == "all-reduce" else 1) * (ranks - 1) / ranks


@dataclass(frozen=True)
class Traffic:
    """The collectives of a step."""

    micro_batches: int
    """Micro-batches of a rank and step."""
    forward: tuple[Transfer, ...]
    """Weights gathered in the forward pass of each micro-batch."""
    backward: tuple[Transfer, ...]
    """Weights gathered again in the backward pass of each micro-batch."""
    gradients: tuple[Transfer, ...]
    """Buckets of gradients of a backward pass, in order."""
    reductions: int
    """Backward passes of a step whose gradients are sent."""
    is_overlapped: bool
    """Whether buckets are sent during the backward pass."""
    update: tuple[Transfer, ...]
    """Collectives after the last backward pass, mostly of weights."""

    @property
    def step(self) -> list[Transfer]:
        """All collectives of a step."""
        every = [*self.forward, *self.backward] * self.micro_batches
        return [*every, *self.gradients * self.reductions, *self.update]

    def sent(self, ranks: int) -> float:
        """Return the bytes that each rank sends in a step."""
        return sum(transfer.sent(ranks) for transfer in self.step)


def count_traffic(model: ModelConfig, vocabulary: int, setting: Setting) -> Traffic:
    """Return the collectives of a step.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
    """
    rank = _Sender(weights_of(model, vocabulary), setting)
    return rank.everything_in_parts() if setting.stage == 3 else rank.whole_weights()


class _Sender:
    """The collectives of one rank."""

    def __init__(self, weights: Weights, setting: Setting) -> None:
        self.weights, self.setting = weights, setting
        self.zero, self.ranks, self.bucket = setting.zero, setting.ranks, setting.bucket
        self.groups = weights.groups(setting.optimizer)
        self.muon_groups = weights.muon_groups(setting.optimizer)

    def whole_weights(self) -> Traffic:
        """Return the traffic of stages 0, 1 and 2, where every rank has all weights."""
        stage = self.setting.stage
        is_overlapped = stage > 0 and bool(self.zero.get("overlap_comm"))
        kind: Kind = "all-reduce"
        if stage == 0 or has_bf16_optimizer(self.setting.resolved):
            is_overlapped = False
            flat = [weight.elements for weight in self.weights.all]
            if stage == 1:  # bf16_optimizer.py: one padded tensor for each group
                flat = [count_padded(group, self.ranks) for group in self.groups]
            buckets = [(size, 1.0) for size in _filled_over(flat, DEEPSPEED_BUCKET)]
        else:
            ordered = self.weights.by_gradient
            if stage == 1 and not is_overlapped:  # stage_1_and_2.py, reduce_gradients
                ordered = [weight for group in self.groups for weight in group]
            buckets = list(_filled(ordered, self.bucket))
            if not self.zero.get("use_multi_rank_bucket_allreduce", True):
                kind = "reduce" if self.zero.get("reduce_scatter", True) else kind
        update = [self._together(group) for group in self.muon_groups if stage] + [
            Transfer("all-gather", count_padded(group, self.ranks), self.setting.width)
            for group in self.groups
            if stage
        ]
        return Traffic(
            self.setting.accumulation,
            forward=(),
            backward=(),
            gradients=tuple(Transfer(kind, n, self.setting.sent_width, at) for n, at in buckets),
            reductions=self.setting.accumulation if stage == 2 else 1,
            is_overlapped=is_overlapped,
            update=tuple(transfer for transfer in update if transfer.elements),
        )

    def everything_in_parts(self) -> Traffic:
        """Return the traffic of stage 3, where every rank has a part of each large tensor."""
        limits = Limits.of(self.zero)
        there, back = self.weights.calls(recompute=self.setting.recompute)
        found = simulate_gathers([*there, *back], limits)
        by_ring = bool(self.zero.get("reduce_scatter", True))
        kept = [w for w in self.weights.all if w.elements <= limits.persistent]
        total = sum(weight.elements for weight in self.weights.all)
        done, forward = 0, []
        for gather in found:
            if gather.at < len(there):
                forward.append(self._gather(gather.weights, at=min(1.0, done / total)))
                done += sum(weight.elements for weight in gather.weights)
        return Traffic(
            self.setting.accumulation,
            forward=tuple(forward),
            backward=tuple(self._gather(g.weights) for g in found if g.at >= len(there)),
            gradients=tuple(
                Transfer(
                    "reduce-scatter" if by_ring else "all-reduce",
                    sum(map(self._parts, bucket)) if by_ring else sum(w.elements for w in bucket),
                    self.setting.sent_width,
                    at,
                )
                for bucket, at in _buckets(self.weights.by_gradient, self.bucket)
            ),
            reductions=self.setting.accumulation,
            is_overlapped=bool(self.zero.get("overlap_comm", True)),
            update=tuple(self._gather([weight]) for weight in kept),
        )

    def _parts(self, weight: Weight) -> int:
        """Return the elements of a tensor, padded to be divided into equal parts."""
        return -(-weight.elements // self.ranks) * self.ranks

    def _gather(self, weights: Iterable[Weight], at: float = 1.0) -> Transfer:
        return Transfer("all-gather", sum(map(self._parts, weights)), self.setting.width, at)

    def _together(self, group: Sequence[Weight]) -> Transfer:
        """Return the all-reduce by which Muon collects split parameters (train/muon.py)."""
        found = find_owners(group, self.ranks)
        cut = sum(weight.elements for weight, ranks in found if len(ranks) > 1)
        return Transfer("all-reduce", cut, 4)


def _filled_over(sizes: Iterable[int], limit: int) -> Iterator[int]:
    """Yield the elements of buckets that are sent when over the limit (runtime/engine.py)."""
    filled = 0
    for size in sizes:
        filled += size
        if filled > limit:
            yield filled
            filled = 0
    if filled:
        yield filled


def _filled(weights: Iterable[Weight], limit: int) -> Iterator[tuple[int, float]]:
    """Yield the elements of each of `_buckets`, and when it is sent."""
    for bucket, at in _buckets(list(weights), limit):
        yield sum(weight.elements for weight in bucket), at


def _buckets(weights: Sequence[Weight], limit: int) -> Iterator[tuple[list[Weight], float]]:
    """Yield buckets that are sent when the next gradient does not fit.

    Yields:
        The parameters of a bucket, and the fraction of all gradients that exist when it is sent.
    """
    total = sum(weight.elements for weight in weights)
    bucket: list[Weight] = []
    filled, seen = 0, 0
    for weight in weights:
        seen += weight.elements
        if bucket and filled + weight.elements > limit:
            yield bucket, seen / total
            bucket, filled = [], 0
        bucket.append(weight)
        filled += weight.elements
    yield bucket, 1.0
