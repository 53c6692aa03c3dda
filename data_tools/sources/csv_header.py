"""Read the header of a CSV file: the names of its columns and the position of the wanted one."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from data_tools.sources.column import find_column
from data_tools.sources.csv_kernel import BLANK, GOOD, MORE, Rules, Span, scan_record
from data_tools.sources.delimiter import (
    EXCEL_LINE,
    MARK,
    NAMES,
    WIDE,
    exchange,
    name_of,
    open_window,
)
from data_tools.sources.faults import EXCERPT_BYTES, make_excerpt
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window
from gpt2zh.config.errors import UserError

_MOST_COLUMNS = 1000  # the time to read a broken file grows with them, see csv_kernel
_LONGEST_HEADER = 1_000_000
_FIRST_ROWS = 20  # in which a delimiter at the end is looked for
_LEAST_ROWS = 2


@dataclass(frozen=True)
class Header:
    """The columns of a CSV file, and where its records begin."""

    width: int
    """Number of fields of a row: the columns, and one more if the first rows all end in a
    delimiter where the header does not."""
    column: int
    """Number of the wanted column, from 0."""
    end: int
    """Bytes of the decoded file before the first record."""
    line: int
    """Line of the first record, from 1."""


def read_header(source: SourceFile, column: str) -> Header:
    """Read the header of a CSV file, separated as the source says.

    A file of blank lines has no records.

    Raises:
        UserError: The header is not valid, or the column is missing or occurs more than once.
    """
    sign, rules = source.delimiter, Rules(-1, -1, _LONGEST_HEADER)
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = open_window(stream, sign)
        window.skip_mark()
        line = 1
        while True:
            found = (MORE, 0, 0)
            if window.begin < window.end:
                span = Span(window.data, window.begin, window.end, window.is_last)
                found = scan_record(span, rules)
            verdict, after, lines = found[:3]
            if verdict == MORE and window.is_last:
                return Header(1, 0, window.offset + window.end, line)
            if verdict == MORE:
                window.fill()
                continue
            stop = after if verdict in (GOOD, BLANK) else window.begin + EXCERPT_BYTES
            data = exchange(window.data[window.begin : min(stop, window.end)], sign).tobytes()
            if window.offset + window.begin <= len(MARK) and EXCEL_LINE.fullmatch(data):
                verdict = BLANK
            names = _split(data, source) if verdict == GOOD else []
            if verdict not in (GOOD, BLANK):
                raise _make_error(source, "broken quotes, or no end", data)
            window.begin = after
            line += lines
            if verdict == GOOD:
                end = window.offset + after
                note = _note(names, sign)
                position = find_column(names, column, source.path, note=note)
                width = len(names) + _rows_end_in_delimiter(window, rules, len(names))
                return Header(width, position, end, line)


def _rows_end_in_delimiter(window: Window, rules: Rules, width: int) -> bool:
    """Return whether each of the first rows has one more field than the header, an empty one."""
    rules = rules._replace(column=width)
    rows = 0
    while rows < _FIRST_ROWS:
        verdict, after = MORE, 0
        if window.begin < window.end:
            span = Span(window.data, window.begin, window.end, window.is_last)
            verdict, after, _, begin, end, _, fields = scan_record(span, rules)[:7]
        if verdict == MORE and (window.is_last or window.end - window.begin > _LONGEST_HEADER):
            break
        if verdict == MORE:
            window.fill()
            continue
        if verdict != BLANK and (verdict != GOOD or fields != width + 1 or begin != end):
            return False
        rows += verdict != BLANK
        window.begin = after
    return rows >= _LEAST_ROWS


def _note(names: list[str], sign: str) -> str:
    """Return what else helps a user whose column is missing."""
    if len(names) == 1:
        for wide in WIDE:
            if wide in names[0]:
                return (
                    f" (this looks like several, separated by '{wide}', which is text here; "
                    "separate columns by an ASCII comma or a tab, in the rows as well)"
                )
        for other, name in NAMES.items():
            if other in names[0]:
                return f" (this looks like several, separated by {name}; use --delimiter {name})"
    return f" (separated by {name_of(sign)})" if sign != "," else ""


def _split(data: bytes, source: SourceFile) -> list[str]:
    """Return the column names in a header."""
    text = io.StringIO(data.decode("utf-8", "backslashreplace"), newline="")
    try:
        names = next(csv.reader(text, delimiter=source.delimiter, strict=True))
    except csv.Error as error:
        raise _make_error(source, str(error), data) from error
    if len(names) > _MOST_COLUMNS:
        raise UserError(
            f"{source.path} has {len(names)} columns: {make_excerpt(data)}...; at most "
            f"{_MOST_COLUMNS} can be read; remove the columns that you do not need"
        )
    return names


def _make_error(source: SourceFile, why: str, data: bytes) -> UserError:
    return UserError(
        f"{source.path}: the header is not valid CSV ({why}): {make_excerpt(data)}; the first line "
        f"must name the columns, separated by {name_of(source.delimiter)}"
    )
