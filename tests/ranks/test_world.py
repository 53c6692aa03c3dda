"""Where a process stands, whatever started it."""

from __future__ import annotations

import pytest

from gpt2zh.config.errors import UserError
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


@pytest.mark.parametrize("text", ["abc", "", "-1", "1.5", "²"])
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
def test_a_variable_that_is_not_a_number_is_refused_with_its_cure(name: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        World.detect(torchrun(0, 2, 0, 2) | {name: text})
    said = str(caught.value)
    assert f"{name} is '{text}'; it must be a whole number" in said and f"unset {name}" in said


def test_slurm_variables_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="SLURM_PROCID is 'x'"):
        World.detect(srun(0, 4, 0, 4) | {"SLURM_PROCID": "x"})


@pytest.mark.parametrize("rank", [2, 5])
def test_a_rank_beyond_the_size_is_refused(rank: int) -> None:
    with pytest.raises(UserError, match=f"RANK is {rank} and WORLD_SIZE is 2; .* from 0 to 1"):
        World.detect(torchrun(rank, 2, 0, 2))


def test_all_bad_variables_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"2 faults\n.*RANK is 'a'.*\n.*WORLD_SIZE is 'b'"):
        World.detect({"RANK": "a", "WORLD_SIZE": "b"})
