"""A run that moves to other ranks and ZeRO stages goes on as if nothing had happened.

The same rows in the same order, compared as a file and never sorted, and the same losses.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pretrain_forks import pretrain
from pretraining import arguments, losses, tensors

pytestmark = pytest.mark.ranks

BATCH = 12  # 1, 2, 3 and 4 ranks divide it
ZERO1_OFFLOAD = {"stage": 1, "offload_optimizer": {"device": "cpu"}}
CHAIN = ((1, {"stage": 1}), (2, {"stage": 3}), (4, {"stage": 2}), (3, ZERO1_OFFLOAD))
"""Ranks and ZeRO of the starts of one run, which takes two steps in each."""
BANDS = {"fp32": 1e-6, "bf16": 2e-3}


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """Runs without dropout: whole on 2 ranks, moved from ranks to ranks, cut into other batches."""
    folder = tmp_path_factory.mktemp("elastic")

    def case(name: str, zero: dict, precision: str = "fp32", **more: object) -> list[str]:
        options = {
            "model.dropout": 0.0,
            "seed": 5,
            "train.global_batch": BATCH,
            "train.micro_batch": 1,
            "train.steps": 2 * len(CHAIN),
            "log.rows": "true",
        }
        return arguments(tiny_shards, folder / name, zero, precision, **options | more)

    def moved(zero: dict, stop: str) -> list[list[str]]:
        return [case(f"moved-{p}", zero, p, stop_after=stop) for p in BANDS]

    alongside = {
        1: [
            case("alone", {"stage": 0}, **{"train.micro_batch": 4}),
            case("alone-by-twelve", {"stage": 1}),
            case("alone-at-once", {"stage": 1}, **{"train.micro_batch": 12}),
        ],
        2: [
            *(case(f"whole-{precision}", {"stage": 1}, precision) for precision in BANDS),
            case("by-three", {"stage": 2}, **{"train.micro_batch": 2}),
            case("at-once", {"stage": 2}, **{"train.micro_batch": 6}),
            case("other-seed", {"stage": 1}, seed=6),
        ],
    }
    for ranks, zero in CHAIN:
        stop = "never" if ranks == CHAIN[-1][0] else "2steps"
        cases = [*moved(zero, stop), *alongside.get(ranks, [])]
        pretrain(ranks, cases, folder)
    return folder


def rows_read(run: Path) -> bytes:
    """The numbers of all rows in the order in which they were read."""
    return (run / "rows.u64").read_bytes()


def last_chain(run: Path) -> str:
    """The hash chain of rows in the last checkpoint."""
    state = json.loads((run / f"checkpoint-{2 * len(CHAIN)}/trainer_state.json").read_text("utf-8"))
    return state["progress"]["chain"]


@pytest.mark.parametrize("precision", BANDS)
def test_a_run_moved_from_ranks_to_ranks_reads_the_same_rows_in_the_same_order(
    elastic: Path, precision: str
) -> None:
    whole, run = elastic / "whole-fp32", elastic / f"moved-{precision}"
    assert len(rows_read(run)) == 8 * BATCH * 2 * len(CHAIN)
    assert rows_read(run) == rows_read(whole)
    assert last_chain(run) == last_chain(whole)
    assert losses(run, "chain") == losses(whole, "chain")


@pytest.mark.parametrize("precision", BANDS)
def test_a_run_moved_from_ranks_to_ranks_has_the_losses_of_one_that_stayed(
    elastic: Path, precision: str
) -> None:
    whole, run = elastic / f"whole-{precision}", elastic / f"moved-{precision}"
    expected = [loss for _, loss in losses(whole)]
    assert [step for step, _ in losses(run)] == list(range(1, 2 * len(CHAIN) + 1))
    assert [loss for _, loss in losses(run)] == pytest.approx(expected, rel=BANDS[precision])
    assert losses(run, "lr") == losses(whole, "lr")


def test_other_rows_are_told_apart(elastic: Path) -> None:
    whole, other = elastic / "whole-fp32", elastic / "other-seed"
    assert len(rows_read(other)) == len(rows_read(whole)) and rows_read(other) != rows_read(whole)
    pairs = zip(losses(other, "chain"), losses(whole, "chain"), strict=True)
    assert all(one != another for one, another in pairs)
    reference = pytest.approx([loss for _, loss in losses(whole)], rel=BANDS["bf16"])
    assert [loss for _, loss in losses(other)] != reference


CUT = ["alone", "alone-by-twelve", "alone-at-once", "by-three", "at-once"]


@pytest.mark.parametrize("name", CUT)
def test_losses_depend_neither_on_ranks_nor_stage_nor_accumulation(
    elastic: Path, name: str
) -> None:
    expected = [loss for _, loss in losses(elastic / "whole-fp32")]
    assert [loss for _, loss in losses(elastic / name)] == pytest.approx(expected, rel=1e-6)
    assert rows_read(elastic / name) == rows_read(elastic / "whole-fp32")


def test_resume_on_other_ranks_restores_every_moment(elastic: Path) -> None:
    name = f"checkpoint-{2 * len(CHAIN)}"
    expected, found = (tensors(elastic / run / name) for run in ("whole-fp32", "moved-fp32"))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert (found[key] - value).norm() < 1e-3 * value.norm(), key
