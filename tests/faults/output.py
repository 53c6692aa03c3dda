"""Where the ranks of a start print to: a file, or something that does not take their text."""

from __future__ import annotations

import locale
import os
import sys
from pathlib import Path

LOG = "log"
FAILING = ("full disk", "closed pipe", "head", "ASCII terminal")
"""Kinds of output that fail: /dev/full, a pipe without a reader, `| head -1`, the locale C."""


class Output:
    """The output of one start."""

    def __init__(self, kind: str, log: Path) -> None:
        """Open it.

        Args:
            kind: `LOG` or one of `FAILING`.
            log: File for what can be printed.
        """
        self._kind = kind
        self._reader: int | None = None
        if kind in ("closed pipe", "head"):
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._reader, False)
            if kind == "closed pipe":
                self._leave()
        else:
            path = "/dev/full" if kind == "full disk" else log
            self._writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def attach(self) -> None:
        """Let this process, a fork, print there."""
        self._leave()
        os.dup2(self._writer, 1)
        os.dup2(self._writer, 2)
        encoding = "utf-8"
        if self._kind == "ASCII terminal":
            locale.setlocale(locale.LC_CTYPE, "C")
            encoding = "ascii"
        sys.stdout = os.fdopen(1, "w", 1, encoding=encoding)
        sys.stderr = os.fdopen(2, "w", 1, encoding=encoding, errors="backslashreplace")

    def look(self) -> None:
        """Leave after the first line, as `head -1` does."""
        if self._reader is not None:
            try:
                text = os.read(self._reader, 65536)
            except BlockingIOError:
                return
            if b"\n" in text:
                self._leave()

    def close(self) -> None:
        """Close it in the process that has opened it."""
        self._leave()
        os.close(self._writer)

    def _leave(self) -> None:
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None
