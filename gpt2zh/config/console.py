"""Printing that never ends a command: not for a character that the terminal lacks, nor a full disk.

Every entry point calls `prepare_output` first: the two commands, the launcher scripts, the worker
processes and the benchmarks. A start that trains also calls `drop_lost_output`: its log may lie on
a full disk, and the reader of its output may have gone (`| tee`, a closed ssh).
"""

from __future__ import annotations

import contextlib
import io
import locale
import os
import sys
from typing import Any

from gpt2zh.config.errors import UserError

_REPLACED: list[io.TextIOWrapper] = []
"""Earlier streams, which may close their descriptor when nobody holds them: ours would then write
into whatever is opened next."""
_UTF8_LOCALES = ("C.UTF-8", "C.utf8", "en_US.UTF-8", "en_US.utf8", "zh_CN.UTF-8", "zh_CN.utf8")


def prepare_output() -> None:
    """Let this process print any text, and read the files of libraries as UTF-8.

    Characters that the terminal cannot show are printed as escapes: a backslash and their number.

    Raises:
        UserError: torch cannot be imported in the locale of this shell.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and _refuses_some(stream):
            stream.reconfigure(errors="backslashreplace")
    _use_utf8()


def drop_lost_output() -> None:
    """Let this process go on when a line cannot be printed; the line is lost."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or not _writes_to(stream, descriptor):
            continue  # a test or a notebook shows the output itself
        if isinstance(getattr(stream.buffer, "raw", None), _Dropping):
            continue
        with contextlib.suppress(OSError):
            stream.flush()
        raw: Any = _Dropping(descriptor, "wb", closefd=False)
        new = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=True,
        )
        setattr(sys, name, new)
        _REPLACED.append(stream)


class _Dropping(io.FileIO):
    """A file of the system that accepts what it cannot write."""

    def write(self, data: Any) -> int:
        """Write what can be written; the rest is lost."""
        try:
            written = super().write(data)
        except OSError:  # a full disk, a reader that has gone, a terminal that was closed
            written = None
        return len(data) if written is None else written


def _refuses_some(stream: io.TextIOWrapper) -> bool:
    """Return whether a stream raises an error for some text that we print."""
    if stream.errors == "strict":
        return True
    return stream.errors == "surrogateescape" and not _is_utf8(stream.encoding)


def _writes_to(stream: io.TextIOWrapper, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def _use_utf8() -> None:
    """Read text files as UTF-8 where no encoding is named, as torch reads its own at its import.

    Python asks for the locale at each `open`, so a change of it is enough; processes that this one
    starts need the variable.

    Raises:
        UserError: The locale is not UTF-8 and the system has no other.
    """
    if sys.flags.utf8_mode or _is_utf8(locale.getpreferredencoding(False)):
        return
    os.environ.setdefault("PYTHONUTF8", "1")
    before = locale.getpreferredencoding(False)
    for name in _UTF8_LOCALES:
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            continue
        if _is_utf8(locale.getpreferredencoding(False)):
            return
    raise UserError(
        f"the locale of this shell has the encoding {before}, in which torch cannot be imported; "
        "run `export PYTHONUTF8=1` and start the same command again"
    )


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "") == "utf8"
