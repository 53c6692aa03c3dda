"""What the exit code of a training process means. The table of the README is this one."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Exit codes of `launcher/pretrain.py`; from 65 on those of BSD's sysexits.h."""

    DONE = 0
    """All steps are trained and saved."""
    CRASHED = 1
    """An error of the program; the traceback is printed."""
    REFUSED = 2
    """Something is wrong with options, data, folder or checkpoint; nothing was changed."""
    BAD_NUMBERS = 65
    """Too many steps in a row without a finite loss; saved as it was before them."""
    LOST_RANK = 69
    """Another rank died or crashed; start again to continue from the last checkpoint."""
    HUNG = 70
    """No rank made progress for too long; start again to continue from the last checkpoint."""
    OUT_OF_MEMORY = 71
    """Memory ran out; the message says what to turn."""
    NOT_SAVED = 74
    """The run ended, but its last steps could not be written."""
    STOPPED = 75
    """Stopped as asked and saved; start again to continue."""


def by_signal(number: int) -> int:
    """The exit code of a process that a signal ended at once, as shells have it."""
    return 128 + number
