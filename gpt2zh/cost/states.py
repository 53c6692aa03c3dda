"""What DeepSpeed keeps of a model on one rank: weights, gradients, optimizer. Pure arithmetic.

ZeRO's paper (arXiv 1910.02054, section 3.1) tells what must be kept; this is what DeepSpeed 0.19.8
does keep, read in its source (paths below are in deepspeed/runtime) and compared with real engines
by tests/cost/test_memory.py. It is more by the copies that are reduced, and by the sums of the
gradients, which in half precision `config.deepspeed` wants in fp32 where the JSON says nothing.

All figures are bytes, and they are floats, since parts are not whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpt2zh.config.deepspeed import has_bf16_optimizer
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.gathers import Limits, most_held
from gpt2zh.cost.setting import DEEPSPEED_BUCKET, Setting
from gpt2zh.cost.weights import Weight, owners, weights_of
from gpt2zh.model import shape

_NORM = 8  # bytes of a number whose norm is taken: fp64 (zero/stage_1_and_2.py, get_norm_dtype)
_SUM = 4  # fp32


@dataclass(frozen=True)
class Phase:
    """Bytes that come and go in a step."""

    gradients: float = 0
    buckets: float = 0
    """Copies of gradients that are made to reduce or apply them."""
    gathered: float = 0
    """Weights of other ranks."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.gradients + self.buckets + self.gathered


@dataclass(frozen=True)
class States:
    """Bytes of a rank."""

    parameters: float
    optimizer: float
    """fp32 weights and moments."""
    host: float
    rest: Phase
    """Between two steps."""
    forward: Phase
    """In the forward pass of the last micro-batch."""
    backward: Phase
    """In its backward pass, when that has only begun."""
    reduction: Phase
    """At the end of its backward pass, as the last gradients are reduced."""
    update: Phase
    """While weights are updated."""


def states(model: ModelConfig, vocabulary: int, setting: Setting) -> States:
    """What a rank keeps.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
    """
    rank = _Holder(model, vocabulary, setting)
    if setting.stage == 0:
        return rank.without_zero()
    if setting.stage == 3:
        return rank.everything_in_parts()
    if has_bf16_optimizer(setting.resolved):
        return rank.bf16_optimizer()
    return rank.optimizer_in_parts()


class _Holder:
    """A rank, by what it holds."""

    def __init__(self, model: ModelConfig, vocabulary: int, setting: Setting) -> None:
        self.weights = weights_of(model, vocabulary)
        self.sizes = [weight.elements for weight in self.weights.all]
        self.count, self.largest = sum(self.sizes), max(self.sizes)
        self.square = model.width**2
        self.turned = self.weights.turned_groups(setting.optimizer)
        self.setting, self.ranks, self.zero = setting, setting.ranks, setting.zero
        self.width, self.sum_width, self.bucket = setting.width, setting.sum_width, setting.bucket
        self.is_half, self.is_compiled = setting.is_half, setting.is_compiled
        # In another type than the gradients (zero/stage_1_and_2.py, use_grad_accum_attribute).
        self.is_summed_apart = self.sum_width != self.width
        self.is_accumulated = setting.accumulation > 1

    @property
    def reduced(self) -> int:
        """Parameters that are reduced at a time; a larger one is by itself."""
        return max(min(self.bucket, self.count), self.largest)

    @property
    def moments(self) -> float:
        """AdamW's two, or Muon's one."""
        turned = sum(weight.elements for group in self.turned for weight in group)
        return 2 * _SUM * self.count - _SUM * turned

    @property
    def turning(self) -> float:
        """Copies while Muon turns the matrices of a group (train/muon.py)."""
        return max((self.turning_of(group) for group in self.turned), default=0.0)

    def turning_of(self, group: Sequence[Weight]) -> float:
        """The same of one group: matrices of a shape together, those that lie on several ranks put
        together on all of them. On a GPU less, which turns them in bf16.
        """
        ranks = self.ranks if self.setting.stage else 1
        found = list(owners(group, ranks))
        together = sum(weight.elements for weight, where in found if len(where) > 1)
        most = 0.0
        for rank in range(ranks):
            mine = [weight.elements for weight, where in found if rank in where]
            for is_oblong in (False, True):
                turned = sum(size for size in mine if (size == 4 * self.square) == is_oblong)
                most = max(most, shape.bytes_at_once(turned, sides=4 if is_oblong else 1))
        return _SUM * together + most

    def without_zero(self) -> States:
        """Whole tensors. In half precision FP16_UnfusedOptimizer keeps fp32 weights as well, and
        casts all gradients for a step (fp16/unfused_optimizer.py); all are flattened into a bucket
        to be reduced, by a single rank, too (engine.py, allreduce_bucket).
        """
        gradients = self.width * self.count
        before = gradients if self.is_accumulated else 0
        bucket = min(self.count, DEEPSPEED_BUCKET + self.largest)
        return States(
            parameters=self.width * self.count,
            optimizer=self.moments + (_SUM * self.count if self.is_half else 0),
            host=0,
            rest=Phase(),
            forward=Phase(before),
            backward=Phase(before),
            reduction=Phase(gradients + self.anew, max(self.width * bucket, self.tied)),
            update=Phase(gradients, (_SUM * self.count if self.is_half else 0) + self.turning),
        )

    def bf16_optimizer(self) -> States:
        """Stage 1 in bf16 (bf16_optimizer.py): sums of all gradients in fp32 on every rank, and
        the bf16 gradients until the step is over. The sums are flattened and cast to be reduced.
        """
        sums, own = _SUM * self.count, self.width * self.count
        before = Phase(sums + (own if self.is_accumulated else 0))
        # A group of parameters that fills the bucket alone is not copied, only cast.
        flat = _SUM * self.count if self.count < DEEPSPEED_BUCKET else 0
        return States(
            parameters=own,
            optimizer=(_SUM * self.count + self.moments) / self.ranks,
            host=0,
            rest=Phase(sums),
            forward=before,
            backward=before,
            reduction=Phase(sums + own + self.anew, max(flat + own, self.tied)),
            update=Phase(sums + own, self.turning),
        )

    def optimizer_in_parts(self) -> States:
        """Stages 1 and 2 (zero/stage_1_and_2.py)."""
        part = self.count / self.ranks
        kept = _SUM * self.count + self.moments
        phases = self.stage_1(part) if self.setting.stage == 1 else self.stage_2(part)
        if not self.setting.offloads("optimizer"):
            optimizer, host, extra = kept / self.ranks, 0.0, 0.0
        else:
            # Gradients in fp32 and the new weights pass through the host (initialize_optimizer_
            # states, param_buffer_of_bit16_for_cpu_offload_groups), one parameter at a time.
            optimizer, extra = 0.0, self.width * self.largest
            host = kept / self.ranks + (_SUM + self.width) * part + extra
            if not self.is_summed_apart and self.is_accumulated and self.setting.stage == 2:
                host += self.width * part  # accumulated_grads_in_cpu
        return States(
            self.width * self.count,
            optimizer,
            host,
            *(Phase(phase.gradients, phase.buckets + extra) for phase in (Phase(), *phases)),
        )

    def stage_1(self, part: float) -> tuple[Phase, Phase, Phase, Phase]:
        """Gradients are summed up whole and reduced at the end of the step: through a bucket, into
        a part of their own.
        """
        bucket, whole = self.sum_width * self.bucket_elements, self.sum_width * self.count
        forward = Phase(whole, bucket) if self.is_accumulated else Phase()
        backward = Phase(forward.gradients, forward.buckets if self.is_compiled else bucket)
        holders = 1 if self.is_summed_apart else self.ranks
        if self.is_summed_apart:
            copies = (self.sum_width + self.width) * self.reduced
            update = Phase(whole, _NORM * min(self.largest, part))
        else:
            copies = self.width * self.reduced if self.ranks > 1 else 0
            part = 0 if self.setting.offloads("optimizer") else part
            norm = _NORM * min(self.largest, part)
            update = Phase(self.sum_width * part, max(self.flat * part, norm))
        # What is copied into the bucket is no longer held beside it.
        beside = self.sum_width * max(0, self.count - min(self.bucket, self.small))
        if self.zero.get("overlap_comm"):
            copies = max(copies, self.tied)
        reduction = max(
            Phase(whole + self.all_at_once, bucket + self.tied),
            Phase(beside + self.sum_width * part, bucket + copies),
            key=lambda phase: phase.total,
        )
        return forward, backward, reduction, self.with_turning(update, ranks=holders)

    def stage_2(self, part: float) -> tuple[Phase, Phase, Phase, Phase]:
        """Gradients are reduced in every micro-batch, through buckets. Sums in another type are a
        part that is made with the first of them; gradients of this rank that are too large for a
        bucket stay beside it until the backward pass ends. Else every backward pass makes a part,
        which is then added to that of the last ones.
        """
        bucket = self.width * self.bucket_elements
        copies = self.width * self.reduced if self.ranks > 1 or self.is_summed_apart else 0
        mine = self.sum_width * part
        before = mine if self.is_accumulated else 0.0
        beside = 0 if self.is_compiled else self.width * (self.count - self.small) / self.ranks
        if self.is_summed_apart:
            during, update = mine, Phase(mine, _NORM * min(self.largest, part))
        elif self.setting.offloads("optimizer"):
            before, during, update = 0.0, 0.0, Phase()
        else:
            during = before + mine
            update = Phase(mine, max(self.flat * part, _NORM * self.largest))
            beside = 0
        return (
            Phase(before),
            Phase(before) if self.is_compiled else Phase(during, bucket + copies),
            Phase(during + beside + self.all_at_once, bucket + max(copies, self.tied)),
            self.with_turning(update, ranks=self.ranks),
        )

    def everything_in_parts(self) -> States:
        """Stage 3 (zero/stage3.py): parts of weights, of sums of gradients and of the optimizer,
        and a bucket that is always there. A step copies the sums of a sub-group to fp32.

        A single rank has its weights and gathers nothing, unless they are on the host.
        """
        part = self.count / self.ranks
        own, sums = self.width * part, self.sum_width * part
        kept = (_SUM * self.count + self.moments) / self.ranks
        subgroup = self.flat * min(part, self.zero.get("sub_group_size", 1e9))
        parameters, optimizer, host = own, kept, 0.0
        if self.setting.offloads("param"):
            parameters, host = 0.0, own
        copied = self.ranks > 1 or (self.setting.offloads("param") and self.setting.on_gpu)
        small, held = self.gathered if copied else (0, 0)
        if self.setting.offloads("optimizer"):
            host += kept + _SUM * part + sums
            optimizer = sums = subgroup = 0.0
        bucket, all_there = self.width * self.bucket, self.width * (small + held)
        copies = self.width * self.reduced + _SUM * self.reduced / self.ranks
        last = max(self.all_at_once, self.width * self.reduced)
        return States(
            parameters,
            optimizer,
            host,
            rest=Phase(sums, bucket, self.width * small),
            forward=Phase(sums, bucket, all_there),
            backward=Phase(sums, bucket, all_there),
            reduction=Phase(sums + last, bucket + copies, all_there),
            update=Phase(sums, bucket + subgroup),
        )

    @property
    def gathered(self) -> tuple[int, int]:
        """Elements of small tensors, which are let go for updates only, and of others at a time."""
        limits = Limits.of(self.zero)
        forward, backward = self.weights.calls(recompute=self.setting.recompute)
        small = sum(size for size in self.sizes if size <= limits.persistent)
        return small, most_held([*forward, *backward], limits)

    @property
    def bucket_elements(self) -> int:
        """Of the buckets, which are doubled to fill one while the other is sent."""
        return self.bucket * (2 if self.zero.get("overlap_comm") else 1)

    @property
    def flat(self) -> int:
        """Bytes of each sum that an update flattens, and casts where it is not in fp32."""
        return _SUM if self.sum_width == _SUM else self.sum_width + _SUM

    @property
    def small(self) -> int:
        """Parameters that fit a bucket."""
        return sum(size for size in self.sizes if size <= self.bucket)

    @property
    def tied(self) -> int:
        """The embedding's gradient, which is the last one: as head, as embedding, and their sum."""
        return 3 * self.width * self.largest

    @property
    def all_at_once(self) -> int:
        """Gradients of a compiled model, which all appear at the end of the backward pass."""
        return self.width * self.count if self.is_compiled else 0

    @property
    def anew(self) -> int:
        """The same, beside those to which they are added."""
        return self.all_at_once if self.is_accumulated else 0

    def with_turning(self, update: Phase, *, ranks: int) -> Phase:
        """An update of ZeRO 1 and 2, which goes from group to group: the sums of each are flattened
        in fp32 and let go.

        Args:
            update: Of AdamW.
            ranks: That have the sums of gradients together.
        """
        phases, later = [update], 0
        for group in reversed(self.turned):
            count = sum(weight.elements for weight in group)
            copies = _SUM * count / self.ranks + self.turning_of(group)
            phases.append(Phase(self.sum_width * later / ranks, copies))
            later += count
        return max(phases, key=lambda phase: phase.total)
