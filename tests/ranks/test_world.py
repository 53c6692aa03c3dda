"""Where a process stands, whatever started it."""

from __future__ import annotations

import pytest

from gpt2zh.ranks.world import World


def torchrun(rank: int, size: int, local: int, per_node: int) -> dict[str, str]:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return dict(zip(names, map(str, (rank, size, local, per_node)), strict=True))


def srun(rank: int, size: int, local: int, per_node: int) -> dict[str, str]:
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
    return dict(zip(names, map(str, (rank, size, local, per_node)), strict=True))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, World(0, 1, 0, 1)),
        (torchrun(5, 8, 1, 4), World(5, 8, 1, 4)),
        (srun(5, 8, 1, 4), World(5, 8, 1, 4)),
        # a launcher inside a job step: the launcher counts the processes
        (srun(0, 1, 0, 1) | torchrun(3, 4, 3, 4), World(3, 4, 3, 4)),
        # deepspeed tells no LOCAL_WORLD_SIZE: then all are on this machine
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, World(1, 2, 1, 2)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "3", "SLURM_LOCALID": "2"}, World(2, 3, 2, 3)),
        # a shell in an allocation is no task
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, World(0, 1, 0, 1)),
        ({"WORLD_SIZE": "4"}, World(0, 1, 0, 1)),
    ],
)
def test_the_environment_tells_the_place(env: dict[str, str], expected: World) -> None:
    assert World.detect(env) == expected


def test_only_rank_0_speaks() -> None:
    assert [World(rank, 4).is_main for rank in range(4)] == [True, False, False, False]
    assert not World(4, 8, local_rank=0, local_size=4).is_main  # first of the second machine


def test_variables_read_back_as_the_same_world() -> None:
    for world in (World(), World(5, 8, 1, 4)):
        assert World.detect(world.variables()) == world
