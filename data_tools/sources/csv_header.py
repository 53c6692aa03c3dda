"""Read the header of a CSV file: the names of its columns and the position of the wanted one."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.sources.csv_kernel import BLANK, GOOD, MORE, Rules, Span, scan_record
from data_tools.sources.faults import EXCERPT_BYTES, make_excerpt
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window
from gpt2zh.config.errors import UserError

_MOST_COLUMNS = 1000  # the time to read a broken file grows with them, see csv_kernel
_LONGEST_HEADER = 1_000_000
_NAMES_SHOWN = 30
_RULES = Rules(width=-1, column=-1, longest=_LONGEST_HEADER)


@dataclass(frozen=True)
class Header:
    """The columns of a CSV file, and where its records begin."""

    width: int
    """Number of columns."""
    column: int
    """Number of the wanted column, from 0."""
    end: int
    """Bytes of the decoded file before the first record."""
    line: int
    """Line of the first record, from 1."""


def read_header(source: SourceFile, column: str) -> Header:
    """Read the header of a CSV file. A file of blank lines has no records.

    Raises:
        UserError: The header is not valid, or the column is missing or occurs more than once.
    """
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = Window(stream)
        window.skip_mark()
        line = 1
        while True:
            found = (MORE, 0, 0)
            if window.begin < window.end:
                span = Span(window.data, window.begin, window.end, window.is_last)
                found = scan_record(span, _RULES)
            verdict, after, lines = found[:3]
            if verdict == MORE and window.is_last:
                return Header(1, 0, window.offset + window.end, line)
            if verdict == MORE:
                window.fill()
                continue
            data = window.data[window.begin : after].tobytes() if verdict == GOOD else b""
            names = _split(data, source.path) if verdict == GOOD else []
            if verdict not in (GOOD, BLANK):
                start = window.data[window.begin : window.end][:EXCERPT_BYTES].tobytes()
                raise _make_error(source.path, "broken quotes, or no end", start)
            window.begin = after
            line += lines
            if verdict == GOOD:
                position = find_column(names, column, source.path, kind="column")
                return Header(len(names), position, window.offset + after, line)


def find_column(names: Sequence[str], column: str, path: Path, *, kind: str) -> int:
    """Return the position of a column (or key) among the names.

    Args:
        names: All columns of a file.
        column: The wanted one.
        path: The file, for the message.
        kind: "column" or "key", for the message.

    Raises:
        UserError: The column is missing or occurs more than once.
    """
    if names.count(column) == 1:
        return names.index(column)
    shown = ", ".join(make_excerpt(n.encode("utf-8", "replace")) for n in names[:_NAMES_SHOWN])
    shown += f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    if column in names:
        raise UserError(
            f"{path} has {names.count(column)} {kind}s named '{column}' (all {kind}s: {shown}); "
            "rename all but one of them"
        )
    near = difflib.get_close_matches(column, names, n=1)
    cure = (
        f"did you mean --content-column {near[0]}?" if near else "choose one with --content-column"
    )
    raise UserError(f"{path} has no {kind} '{column}'; its {kind}s are: {shown}; {cure}")


def _split(data: bytes, path: Path) -> list[str]:
    """Return the column names in a header."""
    text = io.StringIO(data.decode("utf-8", "backslashreplace"), newline="")
    try:
        names = next(csv.reader(text, strict=True))
    except csv.Error as error:
        raise _make_error(path, str(error), data) from error
    if len(names) > _MOST_COLUMNS:
        raise UserError(
            f"{path} has {len(names)} columns: {make_excerpt(data)}...; at most {_MOST_COLUMNS} "
            "can be read; remove the columns that you do not need"
        )
    return names


def _make_error(path: Path, why: str, data: bytes) -> UserError:
    return UserError(
        f"{path}: the header is not valid CSV ({why}): {make_excerpt(data)}; the first line must "
        "name the columns, separated by commas"
    )
