"""Where the ranks meet: choose a port, and check the environment first. Does not import torch."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from gpt2zh.config.errors import raise_all
from gpt2zh.ranks.world import World

_SYSTEM_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _TRIES = 10_000, 100
_RANDOM = random.SystemRandom()  # the seed of a run must not decide, nor be used up
_CURE = "deepspeed --master_port PORT sets it; for other launchers export MASTER_PORT=PORT"


def check_meeting_place(world: World, env: Mapping[str, str] = os.environ) -> None:
    """Check MASTER_ADDR and MASTER_PORT, and that a launcher has really started all ranks.

    Args:
        world: This rank's place.
        env: The environment.

    Raises:
        UserError: The ranks could not meet; with everything that is wrong.
    """
    faults = _launcher_faults(world, env) or _place_faults(world, env)
    raise_all(faults, "the ranks cannot meet")


def is_served_by_launcher(env: Mapping[str, str] = os.environ) -> bool:
    """Return whether torchrun serves the store through which the ranks meet."""
    return env.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)


def free_port() -> int:
    """Return a port of this machine on which nobody listens.

    Outgoing connections get any free port of a range of the system (`ip_local_port_range`), so a
    port of that range could be taken before the ranks use it. This one lies below that range.
    """
    for _ in range(_TRIES):
        port = _FIRST + _RANDOM.randrange(max(1, _first_of_system() - _FIRST))
        if _try_to_listen(port) is None:
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_taken(port: int, why: str) -> str:
    """Return what to do about a port on which this machine cannot listen."""
    free = free_port()
    return (
        f"port {port}, where the ranks should meet, cannot be used on this machine ({why}): "
        f"another program or run has it. Use another one: deepspeed --master_port {free}, or "
        f"MASTER_PORT={free} for other launchers"
    )


def _launcher_faults(world: World, env: Mapping[str, str]) -> list[str]:
    if world.size == 1 or "RANK" in env or "SLURM_PROCID" not in env:
        return []
    if any(name in env for name in ("SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS")):
        return []
    return [
        f"SLURM_NTASKS is {world.size}, but this process was started in the batch script itself, "
        "not by srun, so the other ranks do not exist; start it with `srun python "
        "launcher/pretrain.py ...`, or with deepspeed or torchrun"
    ]


def _place_faults(world: World, env: Mapping[str, str]) -> list[str]:
    faults = []
    address, text = env.get("MASTER_ADDR"), env.get("MASTER_PORT")
    port = int(text) if text and text.isascii() and text.isdecimal() else 0
    if text is not None and not 0 < port < 2**16:
        faults.append(f"MASTER_PORT is '{text}'; it must be a number from 1 to 65535. {_CURE}")
    if world.size > 1:
        faults += [
            f"{name} is not set, but there are {world.size} ranks; export it on all of them: the "
            f"{what}"
            for name, value, what in (
                ("MASTER_ADDR", address, "name of the machine of rank 0"),
                ("MASTER_PORT", text, "same free port of that machine"),
            )
            if not value
        ]
    if address and (fault := _address_fault(address)):
        faults.append(fault)
    if port and not faults and world.is_main and not is_served_by_launcher(env):
        faults += _port_faults(port)
    return faults


def _address_fault(address: str) -> str | None:
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return (
            f"MASTER_ADDR is '{address}', which this machine cannot find ({why}); it must be the "
            "name or the IP address of the machine of rank 0"
        )
    return None


def _port_faults(port: int) -> list[str]:
    why = _try_to_listen(port)
    return [] if why is None else [port_taken(port, why)]


def _try_to_listen(port: int) -> str | None:
    """Listen on a port as torch does: on all addresses, also after a run that ended.

    Returns:
        Why it is not possible; None if it is.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            probe.listen()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _first_of_system() -> int:
    """Return the first port that the system gives to outgoing connections."""
    try:
        return int(_SYSTEM_PORTS.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):  # not Linux
        return 32768
