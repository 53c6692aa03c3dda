"""What ranks agree on: the same answers on all of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_ranks import run

from gpt2zh.ranks.control import ControlGroup, sum_over_ranks
from gpt2zh.ranks.world import World

pytestmark = pytest.mark.ranks


def test_all_ranks_hear_the_same(tmp_path: Path) -> None:
    def act(world: World) -> None:
        torch.distributed.init_process_group("gloo", rank=world.rank, world_size=world.size)
        group = ControlGroup()
        flags = group.any(world.rank == 1, world.rank == 5, False)
        table = group.exchange(np.array([world.rank, 2**40]))
        values = group.gather({"rank": world.rank})
        first = group.broadcast(f"of {world.rank}")
        total = sum_over_ranks(torch.tensor([1.5, float(world.rank)]))
        group.barrier()
        answer = [flags, table.tolist(), values, first, total.tolist()]
        (tmp_path / f"{world.rank}.json").write_text(json.dumps(answer))

    run(3, tmp_path, act)
    answers = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] == [
        [True, False, False],
        [[0, 2**40], [1, 2**40], [2, 2**40]],
        [{"rank": 0}, {"rank": 1}, {"rank": 2}],
        "of 0",
        [4.5, 3.0],
    ]
