"""Let one fault strike one process when its watch takes a certain mark.

The marks (`gpt2zh.ranks.watch`) lie in every phase of a run, so a fault can strike in each of them:
loading, computing, updating, agreeing, copying, writing, validating, writing samples. The faults
are real: signals, a main thread that sleeps for ever, numbers that are not finite, a limit of the
kernel on the size of files.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World

MAIN = {
    "kill -9": 6,
    "SIGTERM": 2,
    "SIGINT": 1,
    "SIGUSR1": 1,
    "hang": 1,
    "loss is NaN": 2,
    "gradient is infinite": 2,
    "disk full": 2,
}
"""Faults of the main thread, and how often each is chosen."""
WRITER = {"kill -9": 4, "hang": 1}
"""Faults of the thread that writes checkpoints."""
_FULL_FOR = 30  # marks and notes until the disk has room again
_FULL_AT = 100_000  # bytes; tensors are longer, logs are not


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, the process and the moment."""

    kind: str
    rank: int
    in_writer: bool
    """Whether it strikes the thread that writes checkpoints."""
    at: int
    """Strike at this mark, or at this note of the writing thread. The first one is 1."""
    phase: str = ""
    """Count only marks of phases that begin with this text."""
    steps: int = 0
    """Steps for which the numbers stay bad; 0: once, so that the repeated step is good."""
    place: str = ""
    """Strike outside the marks, see `tests.faults.early`: `FILE`, or a moment of `MEETING`."""
    then: str = ""
    """Signal that the other ranks get when this one has died; empty: they must end without it."""

    @classmethod
    def draw(cls, rng: random.Random, *, ranks: int, marks: int, notes: int) -> Fault:
        """Draw a fault.

        Args:
            rng: Random numbers.
            ranks: Number of processes to choose from.
            marks: Last mark at which a fault of the main thread may strike.
            notes: Last note at which a fault of the writing thread may strike.
        """
        in_writer = rng.random() < 0.3
        kinds = WRITER if in_writer else MAIN
        (kind,) = rng.choices(list(kinds), weights=list(kinds.values()))
        at = rng.randint(1, notes if in_writer else marks)
        return cls(kind, rng.randrange(ranks), in_writer, at)


class FaultyWatch(Watch):
    """A watch that checks often, and in which a fault strikes."""

    beat = 0.1
    silence = 4.0
    short_silence = 0.8

    def __init__(
        self, world: World, *, folder: Path, hang_after: float, fault: Fault | None, told: Path
    ) -> None:
        """Prepare the fault, if it is this rank's.

        Args:
            world: The place of this rank.
            folder: Folder for the stacks.
            hang_after: Seconds.
            fault: The fault of the start.
            told: File that gets a line of JSON when the fault strikes.
        """
        super().__init__(world, folder=folder, hang_after=hang_after)
        mine = fault is not None and fault.rank == world.rank and not fault.place
        self._fault = fault if mine else None
        self._told = told
        self._notes = 0
        self._met = 0
        self._full_until: int | None = None
        self._poison: str | None = None
        self._poisoned_steps = range(0)

    def mark(self, phase: str) -> None:
        """Take the mark, then strike if it is time."""
        super().mark(phase)
        self._meet(in_writer=False, phase=phase)

    def note(self, what: str) -> None:
        """Take the note, then strike if it is time."""
        super().note(what)
        self._notes += 1
        self._meet(in_writer=True, phase=what)

    def poison(self) -> str | None:
        """Return how to spoil the next training loss of this process; None to leave it as it is."""
        if self.step in self._poisoned_steps:
            return self._poison
        once, self._poison = self._poison, None
        return None if self._poisoned_steps else once

    def _meet(self, *, in_writer: bool, phase: str) -> None:
        if self._full_until is not None and self.marks + self._notes >= self._full_until:
            _limit_files(None)
            _forbid_writing(self._told.with_suffix(""), forbid=False)
            self._full_until = None
        fault = self._fault
        if fault is None or fault.in_writer != in_writer or not phase.startswith(fault.phase):
            return
        self._met += 1
        if self._met == fault.at:
            self._fault = None
            self._strike(fault, phase)

    def _strike(self, fault: Fault, phase: str) -> None:
        line = json.dumps(asdict(fault) | {"phase": phase, "step": self.step}) + "\n"
        with self._told.open("a", encoding="utf-8") as file:
            file.write(line)
        if fault.kind == "kill -9":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[fault.kind])
        elif fault.kind == "hang":
            while True:
                time.sleep(1)
        elif fault.kind == "no memory":
            _limit_memory(1 << 16)
        elif fault.kind in ("disk full", "no permission"):
            if fault.kind == "disk full":
                _limit_files(_FULL_AT)
            else:
                _forbid_writing(self._told.with_suffix(""), forbid=True)
            self._full_until = self.marks + self._notes + _FULL_FOR
        elif fault.kind == "disk fills":
            _fill(self._told.with_suffix("") / "ballast")
        else:
            self._poison = fault.kind
            self._poisoned_steps = range(self.step, self.step + fault.steps)


def _limit_files(size: int | None) -> None:
    """Let the kernel refuse to write beyond `size` bytes of a file; None: no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def _forbid_writing(folder: Path, *, forbid: bool) -> None:
    """Forbid this process to write to a folder, or allow it again."""
    if os.getuid() == 0:
        os.seteuid(65534 if forbid else 0)
    elif folder.is_dir():
        folder.chmod(0o555 if forbid else 0o755)


def _fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _limit_memory(more: int) -> None:
    """Let the kernel refuse this process more than `more` bytes of further memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    size = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
