"""Read the header of a CSV file: the names of its columns and the position of the wanted one."""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from dataclasses import dataclass

from data_tools.sources.column import find_column
from data_tools.sources.csv_kernel import BLANK, GOOD, MORE, Rules, Span, scan_record
from data_tools.sources.delimiter import (
    EXCEL_LINE,
    NAMES,
    WIDE,
    exchange,
    name_of,
    open_window,
    split_names,
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
    """Number of fields of a row: the columns; one more if the first rows all end in a delimiter
    where the header does not, one less in the opposite case."""
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
            if window.offset + window.begin <= len(BOM_UTF8) and EXCEL_LINE.fullmatch(data):
                verdict = BLANK
            names = _split(data, source) if verdict == GOOD else []
            if verdict not in (GOOD, BLANK):
                raise _make_error(source, "broken quotes, or no end", data)
            window.begin = after
            line += lines
            if verdict == GOOD:
                end = window.offset + after
                note, cure = _note(names, sign)
                position = find_column(names, column, source.path, note=note, cure=cure)
                width = _find_width(window, rules, names)
                return Header(max(width, position + 1), position, end, line)


def _find_width(window: Window, rules: Rules, names: list[str]) -> int:
    """Return how many fields a row has.

    One more than the header if each of the first rows ends in a delimiter and the header does not,
    and one less in the opposite case.
    """
    width = len(names)
    rules = rules._replace(column=width)
    rows, others = 0, {width - 1, width + 1} if names[-1] == "" else {width + 1}
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
        if verdict != BLANK:
            is_empty = fields != width + 1 or begin == end
            others &= {fields} if verdict == GOOD and is_empty else set()
            if not others:
                return width
            rows += 1
        window.begin = after
    return others.pop() if rows >= _LEAST_ROWS else width


def _note(names: list[str], sign: str) -> tuple[str, str]:
    """Return what else helps a user whose column is missing, and the cure if it is known."""
    if len(names) == 1:
        for wide in WIDE:
            if wide in names[0]:
                return (
                    f" (this looks like several, separated by '{wide}', which is text here)",
                    "separate columns by an ASCII comma or a tab, in the rows as well",
                )
        for other, name in NAMES.items():
            if other in names[0]:
                note = f" (this looks like several, separated by {name})"
                return note, f"use --delimiter {name}"
    return f" (separated by {name_of(sign)})" if sign != "," else "", ""


def _split(data: bytes, source: SourceFile) -> list[str]:
    """Return the column names in a header."""
    try:
        names = split_names(data, source.delimiter)
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
