"""How far a long work is: a renewed line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Counts bytes and says on stderr what share is done and how long the rest will take."""

    def __init__(self, label: str, total: int, *, stream: TextIO | None = None) -> None:
        """Begin to count.

        Args:
            label: What is done, such as "preparing".
            total: Bytes of the whole work.
            stream: Where to write; stderr when absent.
        """
        self._label = label
        self._total = max(total, 1)
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._period = 0.2 if self._is_terminal else 30.0  # seconds
        self._begun = self._told = time.monotonic()

    def show(self, done: int) -> None:
        """Report `done` bytes, unless the last report was only just."""
        now = time.monotonic()
        if now - self._told < self._period:
            return
        self._told = now
        speed = done / (now - self._begun)
        left = (self._total - done) / speed if speed else 0.0
        text = (
            f"{self._label} {100 * done / self._total:3.0f} % of {self._total / 1e6:.0f} MB, "
            f"{speed / 1e6:.1f} MB/s, {_clock(left)} left"
        )
        self._stream.write(f"\r{text:<72}" if self._is_terminal else f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Clear the line of a terminal."""
        if self._is_terminal:
            self._stream.write("\r" + " " * 72 + "\r")
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
