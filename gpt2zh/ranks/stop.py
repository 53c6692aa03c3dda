"""Noticing that this process shall stop: signals, a time limit, a launcher that has gone.

Only a flag is set here. The loop lets all ranks agree on it (`collectives.Control`), saves and
leaves. A second Ctrl-C leaves at once, and so does the first signal while there is nothing to save.
`install` runs before the heavy imports.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from gpt2zh.config.exit_codes import by_signal


class StopRequest:
    """What asked this process to stop, if anything did."""

    def __init__(self) -> None:
        """Start with no request."""
        self.reason: str | None = None
        self.has_work = False
        """Whether a step was taken that is to be saved; before, a signal ends the process."""
        self._first_interrupt = 0.0
        # deepspeed's launcher (it sets CROSS_RANK) leaves its ranks behind when it is killed; any
        # other parent may be a shell that went away as nohup wants it.
        self._launcher = _parents() if "CROSS_RANK" in os.environ else None

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and SIGUSR1."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def asked(self) -> bool:
        """Whether to stop; also notices that the launcher died and nobody would end us."""
        if self.reason is None and self._launcher and _parents() != self._launcher:
            self.reason = "the launcher has gone"
        return self.reason is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.has_work:
            # Waiting for a rank that will never come would only end when somebody kills us.
            os._exit(by_signal(number))
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._first_interrupt and now - self._first_interrupt > 0.5:
                sys.stderr.write("second Ctrl-C: leaving without saving\n")
                sys.stderr.flush()
                os._exit(by_signal(number))
            self._first_interrupt = now
        self.reason = self.reason or signal.Signals(number).name


def _parents() -> tuple[int, int]:
    """Process ids of the parent and its parent: launch.py and the `deepspeed` command."""
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/status", encoding="ascii", errors="replace") as status:
            line = next(line for line in status if line.startswith("PPid:"))
        return parent, int(line.split()[1])
    except (OSError, StopIteration):
        return parent, 0
