"""The sizes of one rank, counted by hand for a model of 2,040 parameters."""

from __future__ import annotations

import pytest
from settings import setting

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.rank_sizes import RankSizes

SHAPE, VOCABULARY = ModelConfig(layers=1, heads=2, width=8, context=16), 128
EMBEDDING = 128 * 8
HIDDEN = 12 * 8 * 8
"""Elements of the matrices of the block: 192, 64, 256 and 256."""
COUNT = EMBEDDING + 16 * 8 + HIDDEN + (3 + 1 + 4 + 1) * 8 + 3 * 2 * 8


def sizes(zero: dict, precision: str = "bf16", **more: object) -> RankSizes:
    return RankSizes(SHAPE, VOCABULARY, setting(zero, precision, **more))


def test_adamw_has_two_moments_and_muon_one_for_the_hidden_matrices() -> None:
    found = sizes({"stage": 1})
    assert (found.count, found.largest) == (COUNT, EMBEDDING) == (2040, 1024)
    assert found.moments == 4 * 2 * COUNT
    assert sizes({"stage": 1}, optimizer="muon").moments == 4 * (2 * COUNT - HIDDEN)


@pytest.mark.parametrize(("bucket", "reduced"), [(200, EMBEDDING), (1500, 1500), (9999, COUNT)])
def test_a_bucket_is_reduced_at_a_time_but_never_less_than_a_tensor(
    bucket: int, reduced: int
) -> None:
    zero = {"stage": 1, "reduce_bucket_size": bucket}
    assert sizes(zero).reduced == reduced
    assert sizes(zero).small == COUNT - sum(n for n in (EMBEDDING, 256, 256) if n > bucket)
    assert sizes(zero).bucket_elements == bucket
    assert sizes(zero | {"overlap_comm": True}).bucket_elements == 2 * bucket


def test_sums_in_another_type_are_a_second_copy_and_an_update_casts_them() -> None:
    in_fp32, in_bf16 = sizes({"stage": 2}), sizes({"stage": 2}, sums="bf16")
    assert in_fp32.is_summed_apart and not in_bf16.is_summed_apart
    assert (in_fp32.flat_width, in_bf16.flat_width) == (4, 2 + 4)


def test_the_gradients_of_a_compiled_model_appear_all_at_once() -> None:
    compiled = sizes({"stage": 1}, compile="always")
    assert compiled.all_at_once == compiled.second_gradients == 2 * COUNT
    assert sizes({"stage": 1}, compile="always", accumulation=1).second_gradients == 0
    assert sizes({"stage": 1}).all_at_once == sizes({"stage": 3}, compile="always").all_at_once == 0
    assert compiled.tied == 3 * 2 * EMBEDDING


def test_zero_3_keeps_small_tensors_and_gathers_the_others() -> None:
    """With no room to keep or prefetch, the most at a time is the embedding."""
    strict = dict.fromkeys(("prefetch_bucket_size", "max_live_parameters", "max_reuse_distance"), 0)
    zero = {"stage": 3} | {f"stage3_{name}": value for name, value in strict.items()}
    threshold = {"stage3_param_persistence_threshold": 100}
    kept = COUNT - EMBEDDING - 128 - 192 - 256 - 256
    assert sizes(zero | threshold, ranks=2).count_gathered() == (kept, EMBEDDING)
    assert sizes(zero, ranks=2).count_gathered() == (COUNT, 0)  # all below the default
    _, most = sizes({"stage": 3} | threshold, ranks=2).count_gathered()
    assert most == COUNT - kept  # with DeepSpeed's room, all of them


def test_muon_copies_matrices_of_one_shape_and_collects_those_that_are_split() -> None:
    """Copy, old and new step, and two products: of 4 x 1 matrices a quarter as large."""
    oblong = 4 * (1 + 2 + 2 / 4) * (256 + 256)
    assert sizes({"stage": 1}).orthogonalize_bytes() == 0  # AdamW
    for zero, ranks in (({"stage": 1}, 1), ({"stage": 0}, 2)):
        assert sizes(zero, ranks=ranks, optimizer="muon").orthogonalize_bytes() == oblong
    # Of 64 + 256 + 256 each rank has a half, so the first matrix of 256 is split.
    split = sizes({"stage": 1}, ranks=2, optimizer="muon")
    assert split.orthogonalize_bytes() == oblong + 4 * 256
