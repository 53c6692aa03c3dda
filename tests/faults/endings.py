"""Check how the ranks of a start have ended: in time, with the right codes, without orphans."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import psutil

from gpt2zh.config.exit_codes import Exit, by_signal
from gpt2zh.files import run_folder
from tests.faults.early import MEETING
from tests.faults.fault import Fault
from tests.faults.ranks import Ended

APART = 12.0
"""Seconds in which all ranks must follow the first one."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_STOPPING = ("SIGTERM", "SIGINT", "SIGUSR1")


def wrong_ending(ended: Ended, fault: Fault | None) -> str | None:
    """Return what is wrong with the way in which the ranks ended; None if nothing is.

    Args:
        ended: The exit codes, and whether ranks had to be killed.
        fault: The fault that has struck; None if none has.
    """
    if ended.stuck:
        return f"ranks {ended.stuck} had to be killed ({ended})"
    if ended.apart > APART:
        return f"the ranks ended {ended.apart:.1f} s apart"
    if not (_codes_fit(ended.codes, fault) if fault else not any(ended.codes)):
        return f"exit codes {ended.codes} after {fault.kind if fault else 'no fault'}"
    return None


def _codes_fit(codes: list[int], fault: Fault) -> bool:
    struck, found = codes[fault.rank], set(codes)
    if fault.kind == "kill -9":
        # 0: the other rank may be through with everything when this one dies.
        others = {-9, Exit.LOST_RANK} | (set() if fault.place in MEETING else {0})
        if fault.then:
            number = signal.Signals[fault.then]
            others |= {-number, by_signal(number)}  # minus: Python had not yet set its handlers
        return struck == -9 and found <= others
    if fault.kind == "hang":
        return found <= {Exit.HUNG, Exit.LOST_RANK}
    if fault.kind in _STOPPING:
        code = by_signal(signal.Signals[fault.kind])
        # Nothing to save yet: that rank ends at once, and the other one loses it.
        early = struck == code and found <= {code, Exit.LOST_RANK}
        return early or found == {Exit.STOPPED} or not any(codes)
    if fault.steps:
        return found == {Exit.BAD_NUMBERS}
    return not any(codes)


def thrown_away(run: Path) -> str | None:
    """Return a message if a complete checkpoint was set aside: a start went back without need."""
    for folder in sorted(run.glob("superseded-*")):
        is_complete = not run_folder.find_faults(folder, content=True)
        if is_complete and not run_folder.read_state(folder)["progress"].get("bad_streak"):
            return f"{folder.name} is complete, but the run went back to an older state"
    return None


class Orphans:
    """Processes that outlive the start they belong to."""

    def __init__(self) -> None:
        """Adopt all orphans from now on; the children that are there already do not count."""
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._known = psutil.Process().children()

    def found(self) -> str | None:
        """Return a message if there are orphans; reap those that have ended."""
        left = []
        for process in psutil.Process().children():
            if process in self._known:
                continue
            if process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)
            else:
                left.append(process)
        return f"there are orphans: {left}" if left else None
