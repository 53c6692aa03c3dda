"""Kill a rank where no watch counts marks: at a file operation, and before the group exists.

An audit hook counts what the process opens for writing, renames, makes and deletes in its run
folder. A kill before operation n is a kill just after operation n - 1. So a first start can die
between any two of its files.

Before the process group exists there is no watch, and no launcher ends the others here. Their
limits are shortened, so that they end by themselves while the torture waits.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt2zh.ranks import meeting
from gpt2zh.train import engine
from tests.faults.fault import Fault
from tests.faults.replacing import replace

FILE = "a file operation"
MEETING = (
    "the start",
    "before joining",
    "while the ranks meet",
    "while the group opens",
)
"""Moments before the process group exists."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGING = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
_PATIENT = 600.0


def prepare(fault: Fault | None, rank: int, run: Path, told: Path) -> None:
    """Let a fault outside the marks strike in this process, if it is this rank's.

    Args:
        fault: The fault of the start.
        rank: Of this process.
        run: The run folder.
        told: File that gets a line of JSON when the fault strikes.
    """
    if fault is None or not fault.place:
        return
    _shorten_meeting(patient=bool(fault.then))
    if fault.rank != rank:
        return

    def kill(at: str) -> None:
        struck = asdict(fault) | {"phase": at, "step": 0}
        descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(descriptor, (json.dumps(struck) + "\n").encode())
        os.kill(os.getpid(), signal.SIGKILL)

    if fault.place == FILE:
        sys.addaudithook(_Counter(run, fault.at, kill))
    elif fault.place == "the start":
        kill(fault.place)
    elif fault.place == "before joining":
        replace(meeting._Meeting, "wait", lambda self: kill(fault.place))
    elif fault.place == "while the ranks meet":
        _kill_after(meeting._Meeting, "_beat", lambda: kill(fault.place))
    else:
        _kill_after(engine, "meet", lambda: kill(fault.place))


def _shorten_meeting(*, patient: bool) -> None:
    """Let ranks wait seconds for one that never comes, instead of minutes.

    Args:
        patient: They wait on, because a signal will end them.
    """
    limits = {"LIMIT": _PATIENT, "SILENCE": _PATIENT} if patient else {"LIMIT": 6.0, "SILENCE": 3.0}
    # A server that dies while a rank connects to it costs so much before that rank looks again.
    replace(meeting, "_TIMEOUT", datetime.timedelta(seconds=4))
    for name, seconds in (limits | {"SAY": 0.5, "BEAT": 0.2}).items():
        replace(meeting, name, seconds)


def _kill_after(where: Any, name: str, kill: Callable[[], None]) -> None:
    original = getattr(where, name)

    def struck(*arguments: Any, **named: Any) -> Any:
        found = original(*arguments, **named)
        kill()
        return found

    replace(where, name, struck)


class _Counter:
    """An audit hook that acts before one change of a folder."""

    def __init__(self, run: Path, at: int, kill: Callable[[str], None]) -> None:
        self._inside = str(run)
        self._left = at
        self._kill = kill

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(details[2], int) or not details[2] & _WRITING:
                return
        elif event not in _CHANGING:
            return
        path = details[0]
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self._inside):
            name = os.fspath(path)[len(self._inside) :].lstrip("/")
            if os.fspath(path)[len(self._inside) :][:1] not in ("", "/"):
                return  # the log and the like, which lie beside the folder
            self._left -= 1
            if self._left == 0:
                self._kill(f"{event.removeprefix('os.')} {name or 'the run folder'}")
