"""How global batches, those of a ramp too, are cut among ranks and micro-batches."""

from __future__ import annotations

import pytest

from gpt2zh.config.batch import accumulation, micro_batches, ramp_faults
from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig
from gpt2zh.config.stages import Stages


def train(rows: int, micro: int, *ramp: int) -> TrainConfig:
    stages = Stages(*((each, 5) for each in ramp))
    return TrainConfig(global_batch=rows, micro_batch=micro, batch_ramp=stages)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_micro_batches_cut_every_step_of_a_ramp(ranks: int) -> None:
    ramp = (6 * ranks, 12 * ranks)
    found = micro_batches(train(24 * ranks, 1, *ramp), ranks, most=99)
    assert found == [1, 2, 3, 6, 12, 24]  # 4 and 8 leave a rest; 6 is less than 12
    for micro in found:
        assert not ramp_faults(train(24 * ranks, micro, *ramp), ranks)
        assert accumulation(train(24 * ranks, micro, *ramp), ranks) == 24 // micro


@pytest.mark.parametrize(
    ("rows", "micro", "ranks", "told"),
    [
        (7, 1, 2, "7 rows a step, which 2 ranks cannot share in micro-batches of 1; "),
        (12, 4, 2, "12 rows a step, which 2 ranks cannot share in micro-batches of 4; use a "),
        (1, 4, 2, "1 rows a step, which 2 ranks cannot share"),
    ],
)
def test_a_ramp_that_cannot_be_shared_is_refused_with_what_can(
    rows: int, micro: int, ranks: int, told: str
) -> None:
    (fault,) = ramp_faults(train(16, micro, 8, rows), ranks)
    assert told in fault and f"use a multiple of {micro * ranks}" in fault
    optimizer = OptimizerConfig()
    with pytest.raises(UserError, match="  - unknown key") as caught:
        resolve({"zero_optimisation": {}}, train(16, micro, rows, rows), optimizer, ranks)
    assert "3 faults" in str(caught.value) and str(caught.value).count(f"  - {fault}") == 2
