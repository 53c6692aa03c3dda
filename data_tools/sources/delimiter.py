"""Which character separates the columns of a CSV file: the option, or what its beginning shows.

A file in which the wanted column is found with the usual delimiter (a tab in .tsv, else a comma) is
read with it, whatever else it may contain.

The scanner knows commas only, because a constant makes it a fifth faster. In a file with another
delimiter, this and the comma are exchanged before the scan and back after it. Both are ASCII, so
other characters stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from data_tools.sources.column import find_place
from data_tools.sources.csv_kernel import BLANK, GOOD, Rules, Span, scan_record
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window
from gpt2zh.config.errors import UserError

AUTO = "auto"
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
"""Delimiters that are detected, with their names."""
WIDE = "\uff0c\u3001\uff1b"
"""What people type for a delimiter in Chinese text; each takes three bytes, and is often text."""

EXCEL_LINE = re.compile(rb'"?sep=([!#-~\t ])"?[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
"""A line before the header that tells Excel the delimiter."""

_TYPED = {name: sign for sign, name in NAMES.items()} | {"\\t": "\t"}
_ROWS = 20


@dataclass(frozen=True)
class _Layout:
    """The beginning of a file, read with one delimiter."""

    names: Sequence[str]
    fitting: float
    """Share of the first rows that have as many fields as the header."""


def parse_delimiter(text: str) -> str:
    """Return the character that an option means, or `auto`.

    Raises:
        UserError: It is not one ASCII character, or one that CSV uses itself.
    """
    sign = _TYPED.get(text, text)
    if sign != AUTO and (len(sign) != 1 or not sign.isascii() or sign in '"\r\n\0'):
        raise UserError(
            f"--delimiter {text!r} is not a valid delimiter; use {AUTO}, {', '.join(_TYPED)}, or "
            "one ASCII character other than a quote or a line break"
        )
    return sign


def canonical(text: str) -> str:
    """Return one spelling for all that mean the same delimiter."""
    sign = parse_delimiter(text)
    return NAMES.get(sign, sign)


def name_of(sign: str) -> str:
    """Return the name of a delimiter, for messages."""
    return NAMES.get(sign, f"'{sign}'")


def detect_delimiter(start: bytes, column: str, *, usual: str, is_whole: bool) -> str:
    """Return the delimiter of a file.

    Args:
        start: Its first bytes in UTF-8.
        column: The wanted column.
        usual: The delimiter that is taken unless another one fits better.
        is_whole: Whether these are all bytes of the file.
    """
    if said := EXCEL_LINE.match(start.removeprefix(BOM_UTF8)):
        return said[1].decode()
    layouts = {usual: _read(start, usual, is_whole)}
    if _has(layouts[usual], column):
        return usual
    layouts |= {sign: _read(start, sign, is_whole) for sign in NAMES if sign != usual}
    able = [sign for sign in layouts if _has(layouts[sign], column)]
    able = able or [sign for sign in layouts if len(layouts[sign].names) > 1]
    return max(able, key=lambda sign: layouts[sign].fitting, default=usual)


def exchange(data: np.ndarray, sign: str) -> np.ndarray:
    """Return bytes, (s,) uint8, in which the delimiter and the comma are exchanged."""
    return data if sign == "," else _table(sign)[data]


def open_window(stream: ByteStream, sign: str) -> Window:
    """Return a window in which the delimiter is a comma, and a comma the delimiter."""
    return Window(stream if sign == "," else _Exchanged(stream, sign))


class _Exchanged:
    """A stream in which the delimiter and the comma are exchanged."""

    def __init__(self, inner: ByteStream, sign: str) -> None:
        self._inner = inner
        self._table = _table(sign)

    @property
    def damage(self) -> str:
        return self._inner.damage

    def readinto(self, buffer: memoryview) -> int:
        count = self._inner.readinto(buffer)
        data = np.frombuffer(buffer[:count], np.uint8)
        data[:] = self._table[data]
        return count


def _table(sign: str) -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    table[[ord(","), ord(sign)]] = ord(sign), ord(",")
    return table


def _has(layout: _Layout, column: str) -> bool:
    return find_place(layout.names, column) is not None


def _read(start: bytes, sign: str, is_whole: bool) -> _Layout:
    # Writable, as the buffers of readers are: else the scanner would be compiled once more.
    data = np.frombuffer(bytearray(start.removeprefix(BOM_UTF8)), np.uint8)
    data = exchange(data, sign)
    rules = Rules(width=-1, column=-1, longest=len(data) + 1)
    names: list[str] = []
    widths: list[int] = []
    begin = 0
    while begin < len(data) and len(widths) < _ROWS:
        found = scan_record(Span(data, begin, len(data), is_whole), rules)
        verdict, after, fields = found[0], found[1], found[6]
        if verdict not in (GOOD, BLANK):
            break
        if verdict == GOOD and names:
            widths.append(fields)
        elif verdict == GOOD:
            with suppress(csv.Error):
                names = split_names(exchange(data[begin:after], sign).tobytes(), sign)
        begin = after
    fitting = sum(width == len(names) for width in widths) / max(len(widths), 1)
    return _Layout(names, fitting)


def split_names(data: bytes, sign: str) -> list[str]:
    """Return the column names in a header.

    Raises:
        csv.Error: Its quoting is broken.
    """
    text = io.StringIO(data.decode("utf-8", "backslashreplace"), newline="")
    return next(csv.reader(text, delimiter=sign, strict=True), [])
