"""The engine: the same updates and norms at every stage and precision, and each rank's device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from equal_steps import CASES, batches, new_engine, rows_of
from forked_ranks import run

from gpt2zh.config.errors import UserError
from gpt2zh.ranks.device import host_memory
from gpt2zh.ranks.world import World
from gpt2zh.train import engine as engines
from gpt2zh.train.engine import Update

GIB = 2**30


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, the second of which has less memory left."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu: f"GPU {gpu}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: ((40 - 20 * gpu) * GIB, 40 * GIB))


@pytest.mark.usefixtures("gpus")
def test_each_rank_of_a_machine_has_its_own_gpu() -> None:
    first, second = (engines.detect_device(World(rank, 2, rank, 2)) for rank in range(2))
    assert (first.name, second.name) == ("GPU 0", "GPU 1") and first.is_gpu
    assert first.memory == 40 * GIB  # never more than it has
    assert 20 * GIB < second.memory < 22 * GIB  # with the context that this process has by now


@pytest.mark.usefixtures("gpus")
def test_a_scheduler_may_show_each_rank_its_own_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert engines.detect_device(World(1, 2, 1, 2)).name == "GPU 0"


@pytest.mark.usefixtures("gpus")
def test_more_ranks_than_gpus_are_refused() -> None:
    with pytest.raises(UserError, match="3 ranks were started on this machine, but it has 2 GPUs"):
        engines.detect_device(World(2, 3, 2, 3))


def test_ranks_on_a_cpu_share_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = engines.detect_device(World(0, 4, 0, 4))
    assert (found.name, found.is_gpu) == ("CPU", False)
    assert found.memory == pytest.approx(host_memory() / 4, rel=0.2)
    assert engines.read_gpu_id() is None


def test_a_model_is_compiled_until_it_is_run_eagerly_again() -> None:
    engine = SimpleNamespace(module=torch.nn.Linear(2, 2))
    names = [name for name, _ in engine.module.named_parameters()]
    assert not engines.is_compiled(engine)
    engines.compile_model(engine)
    assert engines.is_compiled(engine)
    assert [name for name, _ in engine.module.named_parameters()] == names
    engines.run_eagerly(engine)
    assert not engines.is_compiled(engine)


def weights_of(engine: Any) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten() for p in engine.module.parameters()])


def update(engine: Any, *, factor: float = 0.01) -> Update:
    """A step of two micro-batches whose loss is multiplied."""
    engines.set_learning_rate(engine, 0.01)
    for number, batch in enumerate(batches(rows_of(1))):
        engines.begin_micro_batch(engine, is_last=number == 1)
        engines.backward(engine, engine(batch.input_ids, batch.labels) * factor)
        if number == 0:
            before = weights_of(engine)
            engine.step()
            assert torch.equal(weights_of(engine), before)  # this step is not over
    return engines.update_weights(engine)


@pytest.mark.ranks
def test_an_update_is_applied_or_skipped_alike_at_all_stages_and_precisions(
    tmp_path: Path,
) -> None:
    """Norms are compared with each other; tests/train/test_step.py compares them with torch."""

    def act(world: World) -> None:
        engines.start_processes(world)
        norms = []
        for precision in ("fp32", "bf16", "fp16"):
            for stage in "012":
                engine = new_engine(CASES[stage], precision, world)
                first = weights_of(engine)
                bad = update(engine, factor=float("inf"))
                assert not bad.applied and torch.equal(weights_of(engine), first), stage
                if precision == "fp16":
                    judge_scale(engine, bad)
                else:
                    assert engines.get_loss_scale(engine) is None and not bad.may_overflow
                    assert engines.get_scaler_state(engine) == {}
                    engines.set_scaler_state(engine, {"cur_scale": 8.0})  # nothing to set
                good = update(engine)
                assert good.applied and not torch.equal(weights_of(engine), first), stage
                assert good.norm is not None
                norms.append(float(good.norm))
                engine.destroy()
        assert norms == pytest.approx([norms[0]] * len(norms), rel=0.02)
        engines.close()

    run(1, tmp_path, act)


def judge_scale(engine: Any, bad: Update) -> None:
    """A bad step may have been an overflow until the scale is 1; its state can be set back."""
    assert bad.may_overflow
    lower = engines.get_loss_scale(engine)
    assert lower is not None
    before = engines.get_scaler_state(engine)
    assert before["cur_scale"] == lower
    engines.set_scaler_state(engine, before | {"cur_scale": 1.0})
    assert engines.get_loss_scale(engine) == 1.0
    assert not update(engine, factor=float("inf")).may_overflow
    engines.set_scaler_state(engine, before | {"cur_scale": 256.0})
    assert engines.get_loss_scale(engine) == 256.0
