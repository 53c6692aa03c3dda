"""Python stacks of ranks that hang: each writes its own to a file on a disk that all ranks see."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

_NAME = "stack-of-rank-{:05d}.txt"


class StackFile:
    """The file of one rank.

    A C thread of faulthandler writes it: unlike a Python thread, it also runs while the main thread
    never releases the GIL.
    """

    def __init__(self, folder: Path, *, rank: int) -> None:
        """Take the folder; nothing is written yet."""
        self._path = folder / _NAME.format(rank)
        self._file: Any = None

    def write_after(self, seconds: float) -> None:
        """Write the stacks of this process after some seconds; replaces the previous request."""
        if self._file is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8")
            except OSError:
                self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        with contextlib.suppress(RuntimeError):  # no memory for a thread: then there is no stack
            faulthandler.dump_traceback_later(seconds, file=self._file)

    def cancel(self) -> None:
        """Do not write."""
        faulthandler.cancel_dump_traceback_later()

    def remove(self) -> None:
        """Close and delete the file, and the folder if it is empty."""
        if self._file is not None:
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
            self._path.parent.rmdir()

    def read_other(self, rank: int) -> str | None:
        """Return what another rank has written; None if nothing."""
        path = self._path.with_name(_NAME.format(rank))
        with contextlib.suppress(OSError):
            return path.read_text("utf-8").rstrip() or None
        return None


def format_main_stack() -> str:
    """Return the Python stack of the main thread of this process."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)).rstrip() if frame else ""
