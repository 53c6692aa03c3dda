"""Muon in real runs: DeepSpeed's engine, ranks that talk through gloo, ZeRO 0 to 2, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pretraining import losses, tensors
from tiny_runs import go
from verifying import altered, gpt2zh

from gpt2zh.config.exit_codes import Exit
from gpt2zh.model.shape import matrices_in
from tests.faults.fault import Fault
from tests.faults.ranks import start
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks

STEPS = 6  # saved at 3 and 6
# ZeRO's stage, precision, ranks: among 3 ranks three of the four parameters of Muon are cut.
CASES = [(0, "fp32", 1), (0, "bf16", 2), (0, "fp16", 2), (1, "fp32", 3), (1, "bf16", 2)]


def argv(shards: Path, run: Path, stage: int, *more: str, steps: int = STEPS) -> list[str]:
    """A run of Muon that 1, 2 and 3 ranks can take part in."""
    batch = ("--train.global_batch=12", "--train.micro_batch=2")
    return arguments(
        shards, run, {"stage": stage}, "--optimizer.kind=muon", *batch, *more, steps=steps
    )


def run_on(ranks: int, line: list[str], run: Path) -> None:
    """Start so many ranks; they must reach the end, or where they were told to stop."""
    log = run.with_suffix(".log")
    told = run.with_suffix(".told")
    ended = start(line, ranks=ranks, fault=None, sabotage=None, log=log, told=told, patience=90.0)
    assert set(ended.codes) <= {Exit.DONE, Exit.STOPPED}, log.read_text("utf-8")[-3000:]


@pytest.mark.parametrize(("stage", "precision", "ranks"), CASES)
def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(
    tmp_path: Path,
    tiny_shards: Path,
    stage: int,
    precision: str,
    ranks: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from deepspeed.accelerator import get_accelerator

    # DeepSpeed refuses fp16 on CPUs without fp16 instructions, for its speed; see forked_ranks.
    monkeypatch.setattr(type(get_accelerator()), "is_fp16_supported", lambda self: True)
    whole, again = tmp_path / "whole", tmp_path / "again"
    more = (f"--train.precision={precision}",)
    run_on(ranks, argv(tiny_shards, whole, stage, *more), whole)
    more += (f"--resume={whole / 'checkpoint-3'}",)
    run_on(ranks, argv(tiny_shards, again, stage, *more), again)
    begin, expected, found = (
        tensors(run / f"checkpoint-{step}") for run, step in ((whole, 3), (whole, 6), (again, 6))
    )
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert not any(torch.equal(begin[name], found[name]) for name in begin)
    assert losses(again) == losses(whole)[3:]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """Without dropout: a run whole on one rank, and one that moves from ranks to ranks."""
    folder = tmp_path_factory.mktemp("muon")
    for name, ranks, stage, stop in (
        ("whole", 1, 0, "never"),
        ("moved", 2, 1, "2steps"),
        ("moved", 3, 2, "2steps"),
        ("moved", 1, 0, "never"),
    ):
        run = folder / name
        more = ("--model.dropout=0", f"--stop-after={stop}")
        run_on(ranks, argv(tiny_shards, run, stage, *more), run)
    return folder


def test_a_run_moved_between_ranks_and_stages_learns_the_same(moved: Path) -> None:
    expected = [loss for _, loss in losses(moved / "whole")]
    assert [loss for _, loss in losses(moved / "moved")] == pytest.approx(expected, rel=1e-5)
    whole, other = (tensors(moved / run / f"checkpoint-{STEPS}") for run in ("whole", "moved"))
    assert whole.keys() == other.keys()
    for name, value in whole.items():
        assert (other[name] - value).norm() < 1e-3 * value.norm(), name


def test_a_checkpoint_holds_one_moment_of_a_matrix_and_says_so(moved: Path) -> None:
    found = tensors(moved / "moved" / f"checkpoint-{STEPS}")
    weights = {name for name in found if not name.startswith("exp_avg")}
    assert {name for name in weights if f"exp_avg.{name}" in found} == weights
    others = {name for name in weights if not matrices_in(name)}
    assert len(weights - others) == 4
    assert {name for name in weights if f"exp_avg_sq.{name}" in found} == others
    text = (moved / "moved" / f"checkpoint-{STEPS}" / "trainer_state.json").read_text("utf-8")
    assert json.loads(text)["optimizer"] == "muon"


def test_verify_checkpoint_knows_which_moments_there_must_be(
    moved: Path, capsys: pytest.CaptureFixture
) -> None:
    run, name = moved / "whole", "exp_avg.transformer.h.0.mlp.c_proj.weight"
    assert gpt2zh("verify", "checkpoint", run) == 0
    altered(run / f"checkpoint-{STEPS}", name, lambda tensor: None)
    capsys.readouterr()
    assert gpt2zh("verify", "checkpoint", run) == 1
    assert capsys.readouterr().out.rstrip().endswith(f" lacks {name}")


def test_a_bad_step_leaves_weights_and_moments_as_they_were(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    fault = Fault("gradient is infinite", 1, False, 4, "computing micro-batch 2", 1)
    line = argv(tiny_shards, run, 0, "--checkpoint.every=1steps", "--checkpoint.keep_last=50")
    assert go(line, run, fault).codes == [Exit.DONE] * 2
    before, bad, after = (tensors(run / f"checkpoint-{step}") for step in (3, 4, 5))
    assert all(torch.equal(before[name], bad[name]) for name in before)
    assert not any(torch.equal(bad[name], after[name]) for name in bad)
