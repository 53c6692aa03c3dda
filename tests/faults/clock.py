"""Clocks of other machines: the run folder lies on a shared disk, whose times are hours off."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Any

from gpt2zh.files import lock
from tests.faults.replacing import replace


def shorten_beats() -> None:
    """Touch the lock often, so that an owner that has died is noticed within seconds."""
    replace(lock, "BEAT", 0.2)
    replace(lock, "STALE", 4.0)


def move_elsewhere(hours: float) -> None:
    """Let this process be on another machine: other kernel, other clock, a disk without locks.

    Args:
        hours: By how much its clock is ahead of ours.
    """
    touch, write_owner = os.utime, lock.RunLock._write_owner

    def touch_by_other_clock(path: Any, times: Any = None, **named: Any) -> None:
        now = time.time() + 3600 * hours
        touch(path, times or (now, now), **named)

    def write_by_other_clock(self: lock.RunLock, file: Any) -> None:
        write_owner(self, file)
        os.utime(file.fileno())

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    replace(os, "utime", touch_by_other_clock)
    replace(fcntl, "flock", refuse)
    replace(lock, "_boot", lambda: "another machine")
    replace(lock.RunLock, "_write_owner", write_by_other_clock)


def skew_times(run: Path, hours: float) -> None:
    """Set the times of the lock file and of the checkpoints, as a disk's own clock would."""
    then = time.time() + 3600 * hours
    for path in (run / lock.LOCK, *run.glob("checkpoint-*")):
        if path.exists():
            os.utime(path, (then, then))
