"""A run goes on with other data or another global batch only if that is said, and counts right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pretrain_forks import pretrain
from tiny_runs import go

from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.data.chain import extend
from gpt2zh.data.mixture import Mixture
from gpt2zh.data.shard import ShardSet
from gpt2zh.dist.world import World
from gpt2zh.recipes.planning import make_plan
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks


def progress(run: Path, step: int) -> dict:
    """How far a checkpoint has come."""
    text = (run / f"checkpoint-{step}" / "trainer_state.json").read_text("utf-8")
    return json.loads(text)["progress"]


def test_other_data_continue_the_count_of_rows_and_the_chain(
    tmp_path: Path, tiny_shards: Path, other_shards: Path
) -> None:
    run = tmp_path / "run"
    first = arguments(tiny_shards, run, {"stage": 1}, steps=4)
    assert go(first, run).codes == [Exit.DONE] * 2
    other = arguments(other_shards, run, {"stage": 1}, steps=6)
    config, options = parse(PretrainConfig, LaunchOptions, argv=other, prog="pretrain")
    with pytest.raises(UserError, match=r"data: .*\(--allow-change data goes on with it\)"):
        make_plan(config, options, World(0, 2, 0, 2))
    assert go([*other, "--allow-change=data"], run).codes == [Exit.DONE] * 2
    rows = ShardSet.open(other_shards, row_length=32).rows
    order = Mixture([rows], shares=[1.0], seed=1)
    chain = progress(run, 4)["chain"]
    for position in (32, 40):
        chain = extend(chain, order.at(position, 8))
    assert progress(run, 6)["chain"] == chain and progress(run, 6)["rows"] == 48


def test_another_global_batch_reads_on_where_the_first_one_stopped(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    rows = ShardSet.open(tiny_shards, row_length=32).rows
    argv = [a for a in arguments(tiny_shards, run, {"stage": 1}, steps=1) if ".steps" not in a]
    argv.append("--train.epochs=4")
    assert go([*argv, "--stop-after=3steps"], run).codes == [Exit.STOPPED] * 2
    smaller = [*argv, "--train.global_batch=4", "--allow-change=global_batch"]
    assert go(smaller, run).codes == [Exit.DONE] * 2
    steps = 3 + -(-(4 * rows - 24) // 4)
    assert progress(run, steps)["rows"] == 24 + 4 * (steps - 3)
    order = Mixture([rows], shares=[1.0], seed=1)
    expected = order.at(0, progress(run, steps)["rows"]).astype("<i8").tobytes()
    assert (run / "rows.u64").read_bytes() == expected


def test_a_ramp_that_is_over_does_not_keep_other_ranks_from_going_on(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    batch = ("--train.global_batch=6", "--train.micro_batch=1")
    argv = arguments(tiny_shards, run, {"stage": 1}, *batch, steps=5)
    ramp = "--train.batch_ramp=3:2steps"
    pretrain(1, [[*argv, ramp, "--stop-after=3steps"]], tmp_path)
    config, options = parse(PretrainConfig, LaunchOptions, argv=[*argv, ramp], prog="pretrain")
    with pytest.raises(UserError, match="has 3 rows a step, which 2 ranks cannot share") as caught:
        make_plan(config, options, World(0, 2, 0, 2))
    cure = re.findall(r"--\S+=\S+", str(caught.value))
    assert len(cure) == 2
    pretrain(2, [[*argv, *cure]], tmp_path)
    rows = ShardSet.open(tiny_shards, row_length=32).rows
    expected = Mixture([rows], shares=[1.0], seed=1).at(0, 3 + 3 + 6 + 6 + 6)
    assert (run / "rows.u64").read_bytes() == expected.astype("<i8").tobytes()
