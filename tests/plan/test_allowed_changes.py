"""A run goes on with other data or another global batch only if that is said, and counts right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import go

from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.data.chain import extend
from gpt2zh.data.mixture import Mixture
from gpt2zh.data.shard import ShardSet
from gpt2zh.ranks.world import World
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
    with pytest.raises(UserError, match=r"data: .*; --allow-change data continues anyway"):
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
