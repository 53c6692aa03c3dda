"""What is wrong with the place where ranks meet is said before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.ranks import port as ports
from gpt2zh.ranks.port import check_meeting_place, free_port, is_served_by_launcher, port_taken
from gpt2zh.ranks.world import World

PLACE = {"MASTER_ADDR": "127.0.0.1"}
SBATCH = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this machine on which somebody listens."""
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_good_place_and_a_lone_process_pass() -> None:
    check_meeting_place(World(0, 2), PLACE | {"MASTER_PORT": str(free_port())})
    check_meeting_place(World(), {})


@pytest.mark.parametrize("text", ["abc", "", "0", "-1", "99999", "65536", "29500.0", "२९५००"])
def test_a_port_that_is_not_a_number_of_a_port_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        check_meeting_place(World(1, 2), PLACE | {"MASTER_PORT": text})
    said = str(caught.value)
    assert f"MASTER_PORT is '{text}'; it must be a number from 1 to 65535" in said
    assert "--master_port" in said


def test_a_taken_port_is_named_with_one_that_is_free(taken: int) -> None:
    with pytest.raises(UserError) as caught:
        check_meeting_place(World(0, 2), PLACE | {"MASTER_PORT": str(taken)})
    said = str(caught.value)
    assert said.startswith(f"port {taken}, where the ranks should meet")
    other = int(said.partition("--master_port ")[2].split(",")[0])
    assert other != taken and f"MASTER_PORT={other}" in said


def test_only_the_rank_that_serves_tries_the_port(taken: int) -> None:
    place = PLACE | {"MASTER_PORT": str(taken)}
    check_meeting_place(World(1, 2), place)
    check_meeting_place(World(0, 2), place | {"TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert is_served_by_launcher({"TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert not is_served_by_launcher({})


@pytest.mark.parametrize("address", ["no-such-machine.invalid", "..", "a" * 300])
def test_an_address_that_nobody_knows_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="which this machine cannot find") as caught:
        check_meeting_place(World(1, 2), {"MASTER_ADDR": address, "MASTER_PORT": "29500"})
    assert address in str(caught.value) and "machine of rank 0" in str(caught.value)


def test_ranks_without_a_place_to_meet_are_refused_at_once() -> None:
    """Each would take a port of its own and wait for the others there."""
    with pytest.raises(UserError) as caught:
        check_meeting_place(World(1, 4), {})
    said = str(caught.value)
    assert "MASTER_ADDR is not set, but there are 4 ranks" in said
    assert "MASTER_PORT is not set" in said


def test_a_batch_script_without_srun_is_refused() -> None:
    place = PLACE | {"MASTER_PORT": str(free_port())}
    with pytest.raises(UserError, match="was started in the batch script itself, not by srun"):
        check_meeting_place(World.detect(SBATCH), SBATCH | place)
    step = SBATCH | place | {"SLURM_STEP_ID": "0"}
    check_meeting_place(World.detect(step), step)
    under_deepspeed = SBATCH | place | {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    check_meeting_place(World.detect(under_deepspeed), under_deepspeed)
    alone = SBATCH | {"SLURM_NTASKS": "1"}
    check_meeting_place(World.detect(alone), alone)


def test_a_suggested_port_is_free_port() -> None:
    port = int(port_taken(1, "why").rpartition("MASTER_PORT=")[2].split()[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_a_free_port_is_none_that_the_system_may_give_away(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    first = int(ports._SYSTEM_PORTS.read_text("ascii").split()[0])
    assert all(1023 < free_port() < first for _ in range(50))
    monkeypatch.setattr(ports, "_FIRST", taken)
    monkeypatch.setattr(ports, "_first_of_system", lambda: taken + 1)  # the only one to choose
    assert free_port() != taken
