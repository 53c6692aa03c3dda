"""The DeepSpeed settings of the project: its files, what DeepSpeed takes, and the order to try."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2zh.config import profiles
from gpt2zh.plan.fit import name_file
from gpt2zh.train.deepspeed_library import check_options

ROOT = Path(__file__).parents[2]
PROFILES = pytest.mark.parametrize(
    ("stage", "offload"), [*((stage, False) for stage in range(4)), (2, True), (3, True)]
)


@PROFILES
def test_the_profiles_are_the_files_of_ds_configs(stage: int, offload: bool) -> None:
    raw = profiles.profile(stage, offload=offload)
    assert name_file(raw) == f"ds_configs/zero{stage}{'_offload' if offload else ''}.json"
    assert raw == json.loads((ROOT / name_file(raw)).read_text("utf-8"))


@PROFILES
def test_deepspeed_takes_every_profile(stage: int, offload: bool) -> None:
    check_options(profiles.profile(stage, offload=offload))


def test_weights_are_offloaded_at_stage_3_only() -> None:
    two, three = (profiles.profile(s, offload=True)["zero_optimization"] for s in (2, 3))
    assert "offload_param" not in two and two["offload_optimizer"]["device"] == "cpu"
    assert three["offload_param"] == three["offload_optimizer"] == two["offload_optimizer"]


@pytest.mark.parametrize(("ranks", "plain"), [(1, [1]), (2, [1, 2, 3]), (64, [1, 2, 3])])
def test_what_is_faster_is_tried_first_and_a_rank_alone_splits_nothing(
    ranks: int, plain: list[int]
) -> None:
    tried = [raw["zero_optimization"] for raw in profiles.candidates(ranks)]
    assert [zero["stage"] for zero in tried] == [*plain, 2, 3]
    assert ["offload_optimizer" in zero for zero in tried] == [False] * len(plain) + [True] * 2
