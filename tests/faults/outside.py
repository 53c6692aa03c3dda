"""Start a run with the `deepspeed` command, and kill or stop it from outside at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from gpt2zh.ranks.port import free_port

ROOT = Path(__file__).parents[2]
WITHIN = 50.0  # seconds; the launcher itself waits 30 before it kills


@dataclass(frozen=True)
class Disturbed:
    """The result of a start."""

    fault: str
    """The fault that struck."""
    finished: bool
    """Whether the exit code was 0: it also is when only a helper process was killed."""
    left: list[str]
    """Processes that were still alive when all should have ended."""


def start(argv: Sequence[str], rng: random.Random, ranks: int, log: Path) -> Disturbed:
    """Start a run with `deepspeed`, and kill or stop one or all of its processes.

    Args:
        argv: The command line of launcher/pretrain.py.
        rng: Random numbers.
        ranks: Number of processes.
        log: File for their output.
    """
    bin_folder = str(Path(sys.executable).parent)
    command = [
        "deepspeed",
        "--quiet",
        f"--num_accelerators={ranks}",
        f"--master_port={free_port()}",
        "launcher/pretrain.py",
        *argv,
    ]
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    time.sleep(rng.uniform(0.0, 16.0))
    kind = rng.choice(("kill -9 of one", "kill -9 of all", "SIGTERM to all", "SIGINT to all"))
    alive = _session(process.pid)
    if kind == "kill -9 of one" and alive:
        _send(rng.choice(alive), signal.SIGKILL)
    elif alive:
        for one in alive:
            _send(one, signal.SIGKILL if "kill" in kind else signal.Signals[kind.split()[0]])
    begun = time.monotonic()
    while (alive := _session(process.pid)) and time.monotonic() - begun < WITHIN:
        process.poll()
        time.sleep(0.2)
    left = [" ".join(one.cmdline()[:4]) for one in alive]
    for one in alive:
        _send(one, signal.SIGKILL)
    return Disturbed(kind, process.wait() == 0, left)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _session(leader: int) -> list[psutil.Process]:
    """Return the processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found
