"""What a run refuses before it trains, and what it leaves in its folder."""

from __future__ import annotations

import gc
import json
from importlib.metadata import version
from pathlib import Path

import forked_ranks
import pytest
import torch
from plans import plan_of
from pretrain_forks import pretrain
from pretraining import arguments

from gpt2zh.config.errors import UserError
from gpt2zh.files import run_folder
from gpt2zh.files.lock import RunLock
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run.training import run_training, train
from gpt2zh.train.engine import close, start_processes


def test_a_folder_that_another_run_writes_to_is_refused_before_any_process_group(
    tiny_shards: Path, tmp_path: Path
) -> None:
    plan = plan_of(tiny_shards, tmp_path / "run")
    watch = Watch(plan.world, folder=plan.stacks, hang_after=0)
    held = RunLock(tmp_path / "run")
    with pytest.raises(UserError, match=r"is in use by process .* another --output"):
        run_training(plan, StopRequest(), watch)
    held.release()
    assert not torch.distributed.is_initialized()


@pytest.mark.ranks
def test_ranks_with_other_settings_are_refused_and_nothing_is_written(
    tiny_shards: Path, tmp_path: Path
) -> None:
    """Machines that do not see the same files would train on different rows."""

    def act(world: World) -> None:
        device = start_processes(world)
        plan = plan_of(tiny_shards, tmp_path / "run", world, seed=5 + world.rank)
        watch = Watch(world, folder=plan.stacks, hang_after=0)
        told = r"rank 1 on \S+ has another seed \(6\) than rank 0 \(5\); all machines must see"
        with pytest.raises(UserError, match=told):
            train(plan, StopRequest(), device, watch)
        assert gc.get_freeze_count() == 0  # also after an error
        close()

    forked_ranks.run(2, tmp_path, act)
    assert not (tmp_path / "run").exists()


@pytest.mark.ranks
def test_a_run_writes_what_reproduces_it_and_sets_aside_what_it_leaves_behind(
    tiny_shards: Path, tmp_path: Path
) -> None:
    run, steps = tmp_path / "run", {"checkpoint__every": "1steps", "validation__every": "never"}
    whole = arguments(tiny_shards, run, {"stage": 1}, train__steps=2, **steps)
    pretrain(1, [whole], tmp_path)
    (run / "environment.json").unlink()
    back = [*whole, f"--resume={run / 'checkpoint-1'}"]
    pretrain(1, [back], tmp_path)
    first, again = (tmp_path / "0.log").read_text("utf-8").split("continuing from ")
    assert f"checkpoint  {run / 'checkpoint-2'}\n" in first and "done: 2 steps" in first
    assert again.startswith(f"{run / 'checkpoint-1'} at step 1\n") and "done: 2 steps" in again
    moved = run / "superseded-checkpoint-2"
    assert f"a checkpoint after step 1 was renamed to {moved}" in first + again
    assert moved.is_dir() and [step for step, _ in run_folder.list_checkpoints(run)] == [1, 2]
    environment = json.loads((run / "environment.json").read_text("utf-8"))
    assert environment["ranks"] == "1" and environment["torch"] == version("torch")
    assert environment["device"].startswith("CPU (")
    names = ("config.yaml", "deepspeed.json", "deepspeed_config.json", "identity.json")
    saved = run / "checkpoint-2"
    assert all((run / name).read_bytes() == (saved / name).read_bytes() for name in names)
