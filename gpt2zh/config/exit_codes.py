"""The exit codes of a training process; the table in docs/en/troubleshooting.md too."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Exit codes of a launcher script; those from 65 on are from BSD's sysexits.h."""

    DONE = 0
    """All steps are trained and saved, or `validation.patience` ended the run."""
    CRASHED = 1
    """The program has a bug; the traceback is printed."""
    REFUSED = 2
    """Options, data, folder or checkpoint are not valid; nothing was changed."""
    BAD_NUMBERS = 65
    """Too many steps in a row had bad numbers; the state before them is saved."""
    LOST_RANK = 69
    """Another rank died or crashed; start again to continue from the last checkpoint."""
    HUNG = 70
    """No rank made progress for too long; start again to continue from the last checkpoint."""
    OUT_OF_MEMORY = 71
    """Memory ran out; the message lists the settings to reduce."""
    NOT_SAVED = 74
    """The run ended, but its last steps could not be written."""
    STOPPED = 75
    """Stopped as asked and saved; start again to continue."""


def by_signal(number: int) -> int:
    """Return the exit code that shells give a process that a signal killed."""
    return 128 + number
