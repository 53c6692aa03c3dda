"""Which steps of a run are proved, and how they are trained again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import RANKS, tiny_facts, write_checkpoint
from plans import plan_of
from verifying import restated, sealed

from gpt2zh.config.errors import UserError
from gpt2zh.data import chain
from gpt2zh.train.state import TrainState
from gpt2zh.verify.segment import choose_segment, compute_chains


@pytest.fixture
def run(tmp_path: Path, tiny_vocabulary: Path) -> Path:
    """A run with checkpoints of steps 3, 6 and 9."""
    facts = tiny_facts(tiny_vocabulary)
    for step in (3, 6, 9):
        write_checkpoint(tmp_path / "run", step, facts)
    return tmp_path / "run"


def damage(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").write_text("")


def test_the_two_newest_checkpoints_are_the_default(run: Path) -> None:
    segment = choose_segment(run, from_step=None, to_step=None)
    assert segment.steps == range(7, 10)
    assert (segment.act, segment.ranks) == ("pretrain", RANKS)
    assert segment.begin.state == TrainState(step=6, rows=48)
    assert choose_segment(run, from_step=3, to_step=None).steps == range(4, 10)
    assert choose_segment(run, from_step=None, to_step=6).steps == range(4, 7)


@pytest.mark.parametrize(("damaged", "steps"), [(6, range(4, 10)), (9, range(4, 7))])
def test_a_damaged_checkpoint_is_passed_over(
    run: Path, capsys: pytest.CaptureFixture, damaged: int, steps: range
) -> None:
    damage(run / f"checkpoint-{damaged}")
    assert choose_segment(run, from_step=None, to_step=None).steps == steps
    error = capsys.readouterr().err
    assert f"checkpoint-{damaged}/tokenizer.json has 0 bytes" in error
    assert "using an older checkpoint" in error


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [
        (4, None, "--from-step 4: the run has no checkpoint of this step; it has those of 3, 6, 9"),
        (None, 12, "--to-step 12: the run has no checkpoint of this step"),
        (None, 3, "no complete checkpoint before checkpoint-3 to train from; it has checkpoint-3"),
        (9, 6, "--from-step 9 must be less than --to-step 6"),
        (6, 6, "--from-step 6 must be less than --to-step 6"),
    ],
)
def test_steps_that_make_no_segment_are_refused(
    run: Path, begin: int | None, end: int | None, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose_segment(run, from_step=begin, to_step=end)
    assert told in str(caught.value)


def change_seed(run: Path) -> None:
    identity = {"seed": 2}
    (run / "checkpoint-6" / "identity.json").write_text(json.dumps(identity))
    sealed(run / "checkpoint-6")


def damage_all(run: Path) -> None:
    for step in (3, 6, 9):
        damage(run / f"checkpoint-{step}")


@pytest.mark.parametrize(
    ("spoil", "begin", "told"),
    [
        (lambda run: damage(run / "checkpoint-6"), 6, "--from-step 6 is not a complete checkpoint"),
        (change_seed, None, "seed changed between checkpoint-6 and checkpoint-9 (--allow-change)"),
        (damage_all, None, "no complete checkpoint to train from; it has checkpoint-3, checkp"),
        (lambda run: run.rename(run.with_name("moved")), None, "has no checkpoints; give the"),
    ],
    ids=["damaged", "another seed", "all damaged", "no run"],
)
def test_checkpoints_that_prove_nothing_are_refused(
    run: Path, spoil: Callable[[Path], None], begin: int | None, told: str
) -> None:
    spoil(run)
    with pytest.raises(UserError) as caught:
        choose_segment(run, from_step=begin, to_step=None)
    assert told in str(caught.value)


def test_it_is_trained_again_with_the_settings_of_its_end(run: Path, tmp_path: Path) -> None:
    argv = choose_segment(run, from_step=3, to_step=9).make_arguments(tmp_path / "again")
    assert f"--config={run / 'checkpoint-9' / 'config.yaml'}" in argv
    assert f"--deepspeed_config={run / 'checkpoint-9' / 'deepspeed_config.json'}" in argv
    assert f"--resume={run / 'checkpoint-3'}" in argv and "--stop_after=6steps" in argv
    assert f"--output={tmp_path / 'again'}" in argv


def test_the_chain_of_each_step_follows_from_the_order_of_the_data(
    run: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    link = "ab" * 32
    restated(run / "checkpoint-3", chain=link)
    segment = choose_segment(run, from_step=3, to_step=6)
    plan = plan_of(tiny_shards, tmp_path / "out")  # 8 rows a step
    expected = []
    for step in (4, 5, 6):
        link = chain.extend(link, plan.data.order(8 * (step - 1), 8))
        expected.append((step, link))
    assert list(compute_chains(plan, segment)) == expected
    other = plan_of(tiny_shards, tmp_path / "out", seed=2)
    assert [one for _, one in compute_chains(other, segment)] != [one for _, one in expected]
