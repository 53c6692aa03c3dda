"""What all ranks agree on after a step, and how each of them is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import forked_ranks
import numpy as np
import pytest
import torch
import torch.distributed as dist
from plans import plan_of
from pretrain_forks import pretrain
from pretraining import STEPS, arguments, losses

from gpt2zh.data.batch import Batch, batch_of
from gpt2zh.data.tensors import as_tensors
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.peers import Peers
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run.agreement import Agreement
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult


class Disk:
    """A saver that is as busy and as much due as it is said."""

    def __init__(self) -> None:
        self.busy = self.due = False
        self.completed = 0

    def is_due(self, step: int) -> bool:
        return self.due

    def complete(self) -> None:
        self.completed += 1


def agreement_of(plan: RunPlan, disk: Disk, state: TrainState | None = None) -> Agreement:
    watch = Watch(plan.world, folder=plan.config.output, hang_after=0)
    peers = Peers(plan.world, ControlGroup(), StopRequest(), watch)
    return Agreement(plan, state or TrainState(), disk, peers)  # type: ignore[arg-type]


def batches_of(*numbers: int) -> list[Batch[torch.Tensor]]:
    """Micro-batches of one row of 6 tokens, 2 of which are padding."""
    row = np.array([[5, 6, 7, 8, 1, 1]])
    return [
        as_tensors(batch_of(row, pad_id=1, numbers=np.array([n])), torch.device("cpu"))
        for n in numbers
    ]


def result(*, applied: bool = True) -> StepResult:
    number = torch.tensor(1.0)
    return StepResult((number,), number, number, applied, refused=False, may_overflow=False)


@pytest.mark.usefixtures("lone_group")
def test_a_quiet_step_asks_for_nothing_and_counts_its_tokens(
    tiny_shards: Path, tmp_path: Path
) -> None:
    disk = Disk()
    agreement = agreement_of(plan_of(tiny_shards, tmp_path / "run", train__steps=9), disk)
    votes = agreement.vote(3, batches_of(4, 2), result())
    assert (votes.applied, votes.leave, votes.save, votes.validate) == (True, False, False, False)
    assert votes.numbers.tolist() == [4, 2] and votes.tokens == 8
    assert disk.completed == 1
    disk.busy, disk.due = True, True
    votes = agreement.vote(4, batches_of(1, 3), result(applied=False))
    assert (votes.applied, votes.save) == (False, True)
    assert disk.completed == 1  # not while a rank still writes


@pytest.mark.usefixtures("lone_group")
def test_a_stop_is_announced_once_with_its_reason_but_not_at_the_end(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = plan_of(tiny_shards, tmp_path / "run", train__steps=9, stop_after="2steps")
    agreement = agreement_of(plan, Disk(), TrainState(step=5))
    capsys.readouterr()
    assert not agreement.vote(6, batches_of(1), result()).leave
    assert agreement.vote(7, batches_of(1), result()).leave
    assert capsys.readouterr().out == "stopping at step 7 (stop-after)\n"
    assert agreement.vote(9, batches_of(1), result()).leave
    assert capsys.readouterr().out == ""
    agreement._stop.reason = "SIGTERM"
    assert agreement.gives_up_saving() and agreement.vote(6, batches_of(1), result()).leave
    assert capsys.readouterr().out == "stopping at step 6 (SIGTERM)\n"


@pytest.mark.usefixtures("lone_group")
def test_within_a_step_the_ranks_are_asked_about_once_a_second(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    agreement = agreement_of(plan_of(tiny_shards, tmp_path / "run"), Disk())
    agreement._stop.reason = "SIGINT"
    assert [agreement.leaving(number) for number in (1, 2)] == [True, True]  # no step is timed yet
    agreement._step_at -= 1.02  # a step of two micro-batches of a little more than half a second
    agreement.vote(1, batches_of(1, 2), result())
    assert [agreement.leaving(number) for number in range(1, 7)] == [
        number in (2, 4, 6) for number in range(1, 7)
    ]


@pytest.mark.usefixtures("lone_group")
def test_a_validation_is_due_by_the_time_since_the_last_one(
    tiny_shards: Path, tmp_path: Path
) -> None:
    plan = plan_of(tiny_shards, tmp_path / "run", validation__every="1h")
    agreement = agreement_of(plan, Disk())
    agreement._validated_at -= 3601
    assert agreement.vote(1, batches_of(1), result()).validate
    agreement.resume_clock()  # after a checkpoint
    assert agreement.vote(2, batches_of(1), result()).validate
    agreement.resume_clock(validated=True)
    assert not agreement.vote(3, batches_of(1), result()).validate


@pytest.mark.ranks
def test_ranks_hear_the_same_and_refuse_weights_that_only_one_has_updated(
    tmp_path: Path, tiny_shards: Path
) -> None:
    def act(world: World) -> None:
        dist.init_process_group("gloo", rank=world.rank, world_size=world.size)
        disk = Disk()
        agreement = agreement_of(plan_of(tiny_shards, tmp_path / "run", world), disk)
        disk.due, disk.busy = world.rank == 1, world.rank == 1
        votes = agreement.vote(1, batches_of(10 + world.rank, 20 + world.rank), result())
        assert votes.numbers.tolist() == [10, 20, 11, 21] and votes.tokens == 16
        assert votes.save and not votes.leave and disk.completed == 0
        with pytest.raises(RuntimeError, match=r"only on the ranks \[1\]: the memory of one"):
            agreement.vote(2, batches_of(1), result(applied=world.rank == 1))

    forked_ranks.run(2, tmp_path, act)


@pytest.mark.ranks
@pytest.mark.parametrize("ahead", [0, 1])
def test_the_clock_of_rank_0_ends_a_run_and_names_the_reason(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    begin = Agreement.__init__

    def begin_earlier(self: Agreement, plan: RunPlan, *args: Any, **more: Any) -> None:
        begin(self, plan, *args, **more)
        self._started -= 7200 * (plan.world.rank == ahead)

    monkeypatch.setattr(Agreement, "__init__", begin_earlier)
    run = tmp_path / "run"
    pretrain(2, [arguments(tiny_shards, run, {"stage": 1}, stop_after="1h")], tmp_path)
    told = re.findall(r"stopping at step \d+ \(.*\)", (tmp_path / "0.log").read_text("utf-8"))
    assert told == ([] if ahead else ["stopping at step 0 (stop-after)"])
    assert len(losses(run)) == (STEPS if ahead else 0)
