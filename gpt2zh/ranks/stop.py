"""Notice that this process must stop: by a signal, or because its launcher has gone.

Only a flag is set here. The loop lets all ranks agree on it (`ranks.control.ControlGroup`), saves
and ends. A second Ctrl-C exits at once, and so does the first signal while there is nothing to
save. `install` runs before the heavy imports.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from gpt2zh.config.exit_codes import by_signal


class StopRequest:
    """A request to stop this process, with its reason."""

    def __init__(self) -> None:
        """Start with no request."""
        self.reason: str | None = None
        self.has_work = False
        """Whether there is a step to save; before that, a signal ends the process at once."""
        self._first_interrupt = 0.0
        # deepspeed's launcher (it sets CROSS_RANK) leaves its ranks running when it is killed. Any
        # other parent may be a shell that ended on purpose, as with nohup.
        self._launcher = _parents() if "CROSS_RANK" in os.environ else None

    def install(self) -> None:
        """Handle SIGINT, SIGTERM and SIGUSR1."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def asked(self) -> bool:
        """Return whether to stop: a signal came, or the launcher died and nothing else ends us."""
        if self.reason is None and self._launcher and _parents() != self._launcher:
            self.reason = "the launcher has gone"
        return self.reason is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.has_work:
            # The main thread may wait without end for a rank that never comes.
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
    """Return the process ids of the parent and its parent: launch.py and `deepspeed`."""
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/status", encoding="ascii", errors="replace") as status:
            line = next(line for line in status if line.startswith("PPid:"))
        return parent, int(line.split()[1])
    except (OSError, StopIteration):
        return parent, 0
