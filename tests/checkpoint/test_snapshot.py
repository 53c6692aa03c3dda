"""The copy of the state in host memory, from which a checkpoint is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from equal_steps import CASES, new_engine
from forked_ranks import run

from gpt2zh.checkpoint import snapshot
from gpt2zh.checkpoint.master_weights import find_layout
from gpt2zh.checkpoint.snapshot import Buffers
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import close, start_processes, unwrap_model
from gpt2zh.train.state import TrainState

SHAPE = torch.Size((2, 3))


def test_slices_of_a_tensor_are_put_together_in_fp32() -> None:
    buffers = Buffers()
    buffers.keep("a", SHAPE, 4, torch.tensor([4.0, 5.0]))
    buffers.keep("a", SHAPE, 0, torch.arange(4, dtype=torch.float32))
    buffers.keep("b", torch.Size((1,)), 0, torch.tensor([0.5], dtype=torch.bfloat16))
    buffers.synchronize()
    found = buffers.tensors()
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].dtype == torch.float32 and found["b"].item() == 0.5


def test_the_next_copy_uses_the_same_memory() -> None:
    buffers = Buffers()
    buffers.keep("a", SHAPE, 0, torch.ones(6))
    first = buffers.tensors()["a"]
    source = torch.zeros(6)
    buffers.keep("a", SHAPE, 0, source)
    source += 7  # training goes on, the copy stays as it was
    assert buffers.tensors()["a"].data_ptr() == first.data_ptr()
    assert first.tolist() == [[0, 0, 0]] * 2


def test_a_slice_beyond_the_end_of_a_tensor_is_an_error() -> None:
    buffers = Buffers()
    with pytest.raises(RuntimeError):
        buffers.keep("a", SHAPE, 5, torch.ones(2))


@pytest.mark.ranks
def test_a_snapshot_is_of_its_own_step_and_describes_the_training(tmp_path: Path) -> None:
    def act(world: World) -> None:
        start_processes(world)
        engine = new_engine(CASES["1"], "fp16", world)
        layout = find_layout(engine, ControlGroup())
        state, buffers = TrainState(step=4, rows=32, tokens=99), Buffers()
        taken = snapshot.take(engine, state, world, buffers, layout)
        names = {name for name, _ in unwrap_model(engine).named_parameters()}
        assert taken.weights.keys() == names and taken.step == 4
        assert taken.moments.keys() == {
            f"{m}.{n}" for n in names for m in ("exp_avg", "exp_avg_sq")
        }
        assert (
            taken.described["progress"] | {"step": 4, "tokens": 99} == taken.described["progress"]
        )
        facts = {"format": 2, "optimizer": "adamw", "updates": 0, "ranks": 1, "zero_stage": 1}
        assert taken.described | facts == taken.described
        assert taken.described["loss_scale"]["cur_scale"] > 1
        state.step += 1
        assert taken.described["progress"]["step"] == 4  # it is being written meanwhile
        close()

    run(1, tmp_path, act)
