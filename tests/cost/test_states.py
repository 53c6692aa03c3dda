"""What DeepSpeed keeps of a model, by our arithmetic and by its own."""

from __future__ import annotations

import pytest
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from settings import setting

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.states import States, estimate_states
from gpt2zh.model import shape

SHAPE, VOCABULARY = ModelConfig(), 32_000
COUNT = shape.parameters(SHAPE, VOCABULARY)
LARGEST = VOCABULARY * SHAPE.width
AWAY = {"offload_optimizer": {"device": "cpu"}}


def held(zero: dict, **more: object) -> States:
    return estimate_states(SHAPE, VOCABULARY, setting(zero, on_gpu=True, **more))


RANKS = pytest.mark.parametrize("ranks", [1, 4, 8])

# Both count 2 bytes of weights, 12 of the optimizer and 4 of gradients in fp32 for a parameter.
# What differs, and why:
#
# * DeepSpeed counts 2 bytes of half-precision gradients at stage 2. They are there where a bucket
#   does not hold them, and in the buckets else, which it does not count.
# * At stage 3 it counts 4 bytes for the largest layer, as weights and gradient. Ours counts what
#   is gathered by DeepSpeed's own rules, nearly everything in a model this small, and buckets.
# * With the optimizer on the host it counts no gradients on the GPU. Its engine makes a part in
#   fp32 there (stage_1_and_2.py, _get_compact_grad_partition_buffer, newer than its estimate).
# * On the host it multiplies 16 bytes by 1.5 for luck. Ours are 18, since the new weights pass
#   through a buffer there, and page-locked memory may take up to twice as much.


@RANKS
def test_stage_2_is_as_deepspeed_reckons(ranks: int) -> None:
    """Without buckets: then all gradients lie beside them."""
    ours = held({"stage": 2, "reduce_bucket_size": 1}, ranks=ranks)
    _, theirs = estimate_zero2_model_states_mem_needs(
        COUNT, num_gpus_per_node=ranks, cpu_offload=False
    )
    assert ours.parameters + ours.optimizer + ours.reduction.gradients == pytest.approx(theirs)


@RANKS
def test_stage_2_with_the_optimizer_away_keeps_a_part_of_the_gradients(ranks: int) -> None:
    ours = held({"stage": 2, **AWAY}, ranks=ranks)
    host, device = estimate_zero2_model_states_mem_needs(
        COUNT, num_gpus_per_node=ranks, additional_buffer_factor=1.0
    )
    assert ours.optimizer == 0
    assert ours.parameters + ours.forward.gradients == pytest.approx(device + 4 * COUNT / ranks)
    # Theirs is of all ranks of a machine, and up to four of them hide behind its minimum.
    if ranks > 4:
        host = 16 * COUNT
    assert ours.host * ranks == pytest.approx(host * 18 / 16 + 2 * LARGEST * ranks)


@RANKS
def test_stage_3_is_as_deepspeed_reckons_without_what_is_gathered(ranks: int) -> None:
    ours = held({"stage": 3}, ranks=ranks)
    _, theirs, layer = estimate_zero3_model_states_mem_needs(
        COUNT, LARGEST, num_gpus_per_node=ranks, cpu_offload=False, cpu_offload_params=False
    )
    assert ours.parameters + ours.optimizer + ours.rest.gradients == pytest.approx(theirs - layer)
    if ranks > 1:
        assert ours.forward.gathered > 0.9 * 2 * COUNT
    else:
        assert ours.forward.gathered == 0


def test_stage_3_with_all_away_keeps_what_is_gathered_and_a_bucket() -> None:
    """The less, the nearer a weight must be used again to be kept."""
    zero = {"stage": 3, "offload_param": {"device": "cpu"}, "reduce_bucket_size": 10**8} | AWAY
    ours = held(zero, ranks=4)
    assert (ours.parameters, ours.optimizer, ours.forward.gradients) == (0, 0, 0)
    assert ours.forward.buckets == 2 * 10**8
    assert ours.host == pytest.approx((2 + 12 + 8) * COUNT / 4)
    limits = {"stage3_max_reuse_distance": 10**7, "stage3_max_live_parameters": 3 * 10**7}
    tight = held(zero | limits, ranks=4)
    assert 2 * LARGEST < tight.forward.gathered < 0.6 * ours.forward.gathered


# Bytes of a parameter at rest by (precision, stage, ranks), all of them: section 3.1 of the ZeRO
# paper has 16 in half precision, where the 2 of gradients are not there between steps; DeepSpeed
# keeps sums in fp32 (whole in bf16 at stage 1), and in fp32 a second copy of the weights.
BYTES = {
    ("fp32", 0, 8): 4 + 8,
    ("bf16", 0, 8): 2 + 12,
    ("fp32", 1, 4): 4 + 12 / 4,
    ("bf16", 1, 4): 2 + 4 + 12 / 4,
    ("fp16", 1, 4): 2 + 12 / 4,
    ("bf16", 2, 4): 2 + 12 / 4,
    ("fp32", 3, 1): 4 + 4 + 12,
    ("bf16", 3, 1): 2 + 4 + 12,
}


@pytest.mark.parametrize(("precision", "stage", "ranks"), BYTES)
def test_each_stage_divides_more_of_the_states_among_the_ranks(
    precision: str, stage: int, ranks: int
) -> None:
    found = held({"stage": stage}, precision=precision, ranks=ranks)
    bytes_ = found.parameters + found.optimizer + found.rest.gradients
    assert bytes_ == pytest.approx(BYTES[precision, stage, ranks] * COUNT)


def test_muon_keeps_one_moment_of_the_hidden_matrices() -> None:
    adamw, muon = (held({"stage": 2}, optimizer=kind) for kind in ("adamw", "muon"))
    assert adamw.optimizer - muon.optimizer == 4 * 12 * SHAPE.layers * SHAPE.width**2
