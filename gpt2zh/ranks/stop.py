"""Notice that this process must stop: by a signal, by `gpt2zh stop`, or without its launcher.

Only a flag is set here. The loop lets all ranks agree on it (`ranks.control.ControlGroup`), saves
and ends. A second Ctrl-C exits at once, and so does the first signal while there is nothing to
save. `install` runs before the heavy imports.

The main thread may wait in C++ for a rank that never comes, where Python runs no signal handlers.
Therefore a thread listens, too: Python's handler in C writes each signal to a pipe at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from gpt2zh.config.exit_codes import by_signal

_LOOK = 0.5  # seconds between two looks at the launcher
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_INIT = ("systemd", "init", "launchd")  # who adopts a process whose parent has ended


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
        """Handle SIGINT, SIGTERM, SIGUSR1, and SIGHUP unless it is ignored, as under nohup."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _STOPPING:
            signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._note)
        os.register_at_fork(after_in_child=_forget)
        threading.Thread(target=self._listen, args=(reader,), name="stop", daemon=True).start()

    def asked(self) -> bool:
        """Return whether to stop: someone asked, or the launcher died and nothing else ends us."""
        if self.reason is None and self._launcher_has_gone():
            self.reason = "the launcher has gone"
        return self.reason is not None

    def request(self, reason: str) -> None:
        """Ask this process to stop; it exits at once if there is nothing to save."""
        if not self.has_work:
            os._exit(by_signal(signal.SIGTERM))
        self.reason = self.reason or reason

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Set the flag, in the main thread; `_react` does the rest."""
        del frame
        self.reason = self.reason or signal.Signals(number).name

    def _listen(self, reader: int) -> None:
        """React to signals while the main thread may be deaf; never returns."""
        while True:
            ready, _, _ = select.select([reader], [], [], _LOOK)
            for number in os.read(reader, 64) if ready else b"":
                if number in (*_STOPPING, signal.SIGHUP):
                    self._react(number)
            if not self.has_work and self._launcher_has_gone():
                os.write(2, b"error: the launcher of this rank has gone before the first step\n")
                os._exit(by_signal(signal.SIGTERM))

    def _react(self, number: int) -> None:
        if not self.has_work:
            os._exit(by_signal(number))
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._first_interrupt and now - self._first_interrupt > 0.5:
                with contextlib.suppress(OSError):
                    os.write(2, b"second Ctrl-C: leaving without saving\n")
                os._exit(by_signal(number))
            self._first_interrupt = self._first_interrupt or now
        self.reason = self.reason or signal.Signals(number).name

    def _launcher_has_gone(self) -> bool:
        if self._launcher is None:
            return False
        return _parents() != self._launcher or _is_adopted(self._launcher)


def _forget() -> None:
    """Let a fork of this process die of signals, and not report them to us."""
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)


def _parents() -> tuple[int, int]:
    """Return the process ids of the parent and its parent: launch.py and `deepspeed`."""
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/status", encoding="ascii", errors="replace") as status:
            line = next(line for line in status if line.startswith("PPid:"))
        return parent, int(line.split()[1])
    except (OSError, StopIteration):
        return parent, 0


def _is_adopted(launcher: tuple[int, int]) -> bool:
    """Return whether `deepspeed` ended before this rank began, so that init has its launch.py.

    If init itself has started launch.py, it leads its process group or is in that of init.
    """
    parent, adopter = launcher
    try:
        name = Path(f"/proc/{adopter}/comm").read_text("utf-8", errors="replace").strip()
        group = os.getpgid(parent)
        return (adopter == 1 or name in _INIT) and group not in (parent, os.getpgid(adopter))
    except OSError:
        return False
