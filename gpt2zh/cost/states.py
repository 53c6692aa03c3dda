"""Estimate the memory of weights, gradients and optimizer on one rank. Pure arithmetic.

ZeRO's paper (arXiv 1910.02054, section 3.1) says what a rank must keep. DeepSpeed 0.19.8 keeps
more: copies that are reduced, and the sums of gradients, which `config.deepspeed` sets to fp32 in
half precision unless the JSON says otherwise. The formulas follow its source (paths below are in
deepspeed/runtime); tests/cost/test_memory.py compares them with real engines.

All figures are bytes. They are floats, since shares of ranks need not be whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.config.deepspeed import has_bf16_optimizer
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.rank_sizes import FP32, RankSizes
from gpt2zh.cost.setting import DEEPSPEED_BUCKET, Setting

_NORM = 8  # bytes of a number whose norm is computed: fp64 (zero/stage_1_and_2.py, get_norm_dtype)


@dataclass(frozen=True)
class Phase:
    """Bytes that a part of a step allocates and frees."""

    gradients: float = 0
    buckets: float = 0
    """Copies of gradients that are made to reduce or apply them."""
    gathered: float = 0
    """Weights of other ranks."""

    @property
    def total(self) -> float:
        """Sum of all."""
        return self.gradients + self.buckets + self.gathered


@dataclass(frozen=True)
class States:
    """Bytes of one rank."""

    parameters: float
    optimizer: float
    """fp32 weights and moments."""
    host: float
    """In host memory, for what is offloaded."""
    rest: Phase
    """Between two steps."""
    forward: Phase
    """In the forward pass of the last micro-batch."""
    backward: Phase
    """At the start of its backward pass."""
    reduction: Phase
    """At the end of its backward pass, while the last gradients are reduced."""
    update: Phase
    """While weights are updated."""


def estimate_states(model: ModelConfig, vocabulary: int, setting: Setting) -> States:
    """Estimate what a rank keeps, and what each part of a step adds.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        setting: How it is trained.
    """
    sizes = RankSizes(model, vocabulary, setting)
    if setting.stage == 0:
        return _without_zero(sizes)
    if setting.stage == 3:
        return _stage_3(sizes)
    if has_bf16_optimizer(setting.resolved):
        return _bf16_optimizer(sizes)
    return _stages_1_and_2(sizes)


def _without_zero(sizes: RankSizes) -> States:
    """Estimate stage 0, where every rank has whole tensors.

    In half precision FP16_UnfusedOptimizer also keeps fp32 weights, and casts all gradients for a
    step (fp16/unfused_optimizer.py). All gradients are flattened into a bucket to be reduced, by a
    single rank, too (engine.py, allreduce_bucket).
    """
    master = FP32 * sizes.count if sizes.setting.is_half else 0
    gradients = sizes.width * sizes.count
    before = gradients if sizes.is_accumulated else 0
    bucket = min(sizes.count, DEEPSPEED_BUCKET + sizes.largest)
    return States(
        parameters=sizes.width * sizes.count,
        optimizer=sizes.moments + master,
        host=0,
        rest=Phase(),
        forward=Phase(before),
        backward=Phase(before),
        reduction=Phase(gradients + sizes.second_gradients, max(sizes.width * bucket, sizes.tied)),
        update=Phase(gradients, master + sizes.orthogonalize_bytes()),
    )


def _bf16_optimizer(sizes: RankSizes) -> States:
    """Estimate stage 1 in bf16 (bf16_optimizer.py).

    Every rank has fp32 sums of all gradients, and the bf16 gradients until the end of the step. The
    sums are flattened and cast to be reduced.
    """
    sums, own = FP32 * sizes.count, sizes.width * sizes.count
    before = Phase(sums + (own if sizes.is_accumulated else 0))
    # A group of parameters that fills the bucket alone is not copied, only cast.
    flat = FP32 * sizes.count if sizes.count < DEEPSPEED_BUCKET else 0
    return States(
        parameters=own,
        optimizer=(FP32 * sizes.count + sizes.moments) / sizes.ranks,
        host=0,
        rest=Phase(sums),
        forward=before,
        backward=before,
        reduction=Phase(sums + own + sizes.second_gradients, max(flat + own, sizes.tied)),
        update=Phase(sums + own, sizes.orthogonalize_bytes()),
    )


def _stages_1_and_2(sizes: RankSizes) -> States:
    """Estimate stages 1 and 2 (zero/stage_1_and_2.py)."""
    setting = sizes.setting
    part = sizes.count / sizes.ranks
    kept = FP32 * sizes.count + sizes.moments
    phases = _stage_1(sizes, part) if setting.stage == 1 else _stage_2(sizes, part)
    if not setting.offloads("optimizer"):
        optimizer, host, extra = kept / sizes.ranks, 0.0, 0.0
    else:
        # Gradients in fp32 and the new weights pass through the host (initialize_optimizer_
        # states, param_buffer_of_bit16_for_cpu_offload_groups), one parameter at a time.
        optimizer, extra = 0.0, sizes.width * sizes.largest
        host = kept / sizes.ranks + (FP32 + sizes.width) * part + extra
        if not sizes.is_summed_apart and sizes.is_accumulated and setting.stage == 2:
            host += sizes.width * part  # accumulated_grads_in_cpu
    return States(
        sizes.width * sizes.count,
        optimizer,
        host,
        *(Phase(phase.gradients, phase.buckets + extra) for phase in (Phase(), *phases)),
    )


def _stage_1(sizes: RankSizes, part: float) -> tuple[Phase, Phase, Phase, Phase]:
    """Estimate forward, backward, reduction and update of stage 1.

    Gradients are summed whole and reduced at the end of the step, through a bucket, into this
    rank's part.
    """
    is_compiled = sizes.setting.is_compiled
    bucket, whole = sizes.sum_width * sizes.bucket_elements, sizes.sum_width * sizes.count
    forward = Phase(whole, bucket) if sizes.is_accumulated else Phase()
    backward = Phase(forward.gradients, forward.buckets if is_compiled else bucket)
    holders = 1 if sizes.is_summed_apart else sizes.ranks
    if sizes.is_summed_apart:
        copies = (sizes.sum_width + sizes.width) * sizes.reduced
        update = Phase(whole, _NORM * min(sizes.largest, part))
    else:
        copies = sizes.width * sizes.reduced if sizes.ranks > 1 else 0
        part = 0 if sizes.setting.offloads("optimizer") else part
        norm = _NORM * min(sizes.largest, part)
        update = Phase(sizes.sum_width * part, max(sizes.flat_width * part, norm))
    # Gradients that are copied into the bucket are freed.
    remaining = sizes.sum_width * max(0, sizes.count - min(sizes.setting.bucket, sizes.small))
    if sizes.setting.zero.get("overlap_comm"):
        copies = max(copies, sizes.tied)
    reduction = max(
        Phase(whole + sizes.all_at_once, bucket + sizes.tied),
        Phase(remaining + sizes.sum_width * part, bucket + copies),
        key=lambda phase: phase.total,
    )
    return forward, backward, reduction, _with_muon(sizes, update, holders=holders)


def _stage_2(sizes: RankSizes, part: float) -> tuple[Phase, Phase, Phase, Phase]:
    """Estimate forward, backward, reduction and update of stage 2.

    Gradients are reduced in every micro-batch, through buckets. If sums have another type, the
    first gradients allocate this rank's part of them, and this rank's gradients that are too large
    for a bucket stay until the backward pass ends. Otherwise every backward pass allocates a part,
    which is then added to that of the earlier ones.
    """
    is_compiled = sizes.setting.is_compiled
    bucket = sizes.width * sizes.bucket_elements
    copies = sizes.width * sizes.reduced if sizes.ranks > 1 or sizes.is_summed_apart else 0
    mine = sizes.sum_width * part
    before = mine if sizes.is_accumulated else 0.0
    remaining = 0 if is_compiled else sizes.width * (sizes.count - sizes.small) / sizes.ranks
    if sizes.is_summed_apart:
        during, update = mine, Phase(mine, _NORM * min(sizes.largest, part))
    elif sizes.setting.offloads("optimizer"):
        before, during, update = 0.0, 0.0, Phase()
    else:
        during = before + mine
        update = Phase(mine, max(sizes.flat_width * part, _NORM * sizes.largest))
        remaining = 0
    return (
        Phase(before),
        Phase(before) if is_compiled else Phase(during, bucket + copies),
        Phase(during + remaining + sizes.all_at_once, bucket + max(copies, sizes.tied)),
        _with_muon(sizes, update, holders=sizes.ranks),
    )


def _with_muon(sizes: RankSizes, update: Phase, *, holders: int) -> Phase:
    """Return the largest phase of an update at stage 1 or 2, which goes from group to group.

    The sums of each group are flattened in fp32 and freed.

    Args:
        sizes: Those of the rank.
        update: The update of AdamW.
        holders: Ranks over which the sums of gradients are divided.
    """
    phases, later = [update], 0
    for group in reversed(sizes.muon_groups):
        count = sum(weight.elements for weight in group)
        copies = FP32 * count / sizes.ranks + sizes.orthogonalize_group_bytes(group)
        phases.append(Phase(sizes.sum_width * later / holders, copies))
        later += count
    return max(phases, key=lambda phase: phase.total)


def _stage_3(sizes: RankSizes) -> States:
    """Estimate stage 3 (zero/stage3.py), where weights, sums and optimizer are all divided.

    The buckets are always there. A step copies the sums of a sub-group to fp32. A single rank has
    its weights and gathers nothing, unless they are on the host.
    """
    setting = sizes.setting
    part = sizes.count / sizes.ranks
    own, sums = sizes.width * part, sizes.sum_width * part
    kept = (FP32 * sizes.count + sizes.moments) / sizes.ranks
    subgroup = sizes.flat_width * min(part, setting.zero.get("sub_group_size", 1e9))
    parameters, optimizer, host = own, kept, 0.0
    if setting.offloads("param"):
        parameters, host = 0.0, own
    is_copied = sizes.ranks > 1 or (setting.offloads("param") and setting.on_gpu)
    small, held = sizes.count_gathered() if is_copied else (0, 0)
    if setting.offloads("optimizer"):
        host += kept + FP32 * part + sums
        optimizer = sums = subgroup = 0.0
    bucket, gathered = sizes.width * setting.bucket, sizes.width * (small + held)
    copies = sizes.width * sizes.reduced + FP32 * sizes.reduced / sizes.ranks
    last = max(sizes.all_at_once, sizes.width * sizes.reduced)
    return States(
        parameters,
        optimizer,
        host,
        rest=Phase(sums, bucket, sizes.width * small),
        forward=Phase(sums, bucket, gathered),
        backward=Phase(sums, bucket, gathered),
        reduction=Phase(sums + last, bucket + copies, gathered),
        update=Phase(sums, bucket + subgroup),
    )
