"""What a terminal shows: tables with aligned columns, paragraphs with a label, progress."""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TextIO

from gpt2zh.pages.characters import columns
from gpt2zh.pages.numbers import duration, size

LABEL = 12
"""Columns of the label at the left of a line."""

_WIDTH = 100  # columns of running text
_NOT_KNOWN = "time left not known yet"


def table(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> list[str]:
    """Return lines whose columns are aligned by their width on a terminal.

    Args:
        rows: The cells; all rows have the same length, and the first one is the head.
        left: Numbers of the columns that are aligned at the left; the others, which hold numbers,
            are aligned at the right.
    """
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - columns(cell))
            cells.append(cell + gap if number in left else gap + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def paragraph(label: str, words: Sequence[str]) -> list[str]:
    """Return lines of words next to a label; a word is never cut. No words give no lines."""
    if not words:
        return []
    return textwrap.wrap(
        " ".join(words),
        _WIDTH,
        initial_indent=f"{label:<{LABEL}}",
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def command(*words: str | Path) -> str:
    """Return a command as one line that a shell takes as it is, whatever the words hold."""
    return shlex.join(map(str, words))


class Progress:
    """Shows on stderr how much of a long work is done and how long the rest will take.

    On a terminal one line is renewed; elsewhere a new line is written every 30 seconds.
    """

    def __init__(
        self,
        label: str,
        total: float,
        *,
        before: float = 0.0,
        amount: Callable[[float], str] = size,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to measure.

        Args:
            label: The work, such as "preparing".
            total: Amount of the whole work, such as bytes.
            before: Amount that was done earlier, which says nothing about the speed now.
            amount: Formats an amount for readers; by default as bytes.
            stream: Where to write; stderr when absent.
            clock: Returns seconds.
        """
        self._label = label
        self._total = max(total, 1)
        self._before = before
        self._amount = amount
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._period = 0.2 if self._is_terminal else 30.0  # seconds
        self._start = self._last = clock()
        self._shown = 0  # columns of the line that is on the terminal

    def show(self, done: float) -> None:
        """Report that the amount `done` is done, unless the last report is very recent."""
        now = self._clock()
        if now - self._last < self._period:
            return
        self._last = now
        done = min(done, self._total)  # amounts may be estimates
        speed = (done - self._before) / (now - self._start)
        left = f"{duration((self._total - done) / speed)} left" if speed > 0 else _NOT_KNOWN
        self._write(
            f"{self._label} {int(100 * done / self._total):3d} % of {self._amount(self._total)}, "
            f"{self._amount(speed)}/s, {left}"
        )

    def close(self) -> None:
        """Clear the line on a terminal."""
        if self._is_terminal:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, text: str) -> None:
        if self._is_terminal:
            width = columns(text)
            self._stream.write(f"\r{text}{' ' * (self._shown - width)}")
            self._shown = width
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
