"""CSV files to documents, one row at a time, whatever the files hold.

A row that cannot be trusted is handed on as `SetAside` instead of stopping the work. Memory is
bounded by the longest record allowed, so an unclosed quote cannot swallow a file: the record
that it opened is set aside, and reading goes on in the line after its first one.
"""

from __future__ import annotations

import csv
import difflib
import glob
import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gpt2zh.config.errors import UserError

LONGEST_RECORD = 16_000_000
"""Characters of one row, line breaks included; 48 MB of Chinese."""

_EXCERPT = 80
# Bytes that are no UTF-8 become lone surrogates U+DC80 to U+DCFF; NUL becomes this other one, for
# the csv module of Python 3.10 refuses NUL. So one attempt to encode a text finds both.
_NUL_MARK = "\udc00"


@dataclass(frozen=True, slots=True)
class Document:
    """One text to learn from."""

    text: str
    data: bytes
    """The text in UTF-8."""
    line: int
    """Line of the file in which the row begins, from 1."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """One row that was not taken."""

    line: int
    reason: str
    """The kind of fault, by which they are counted."""
    detail: str
    """The fault of this row."""
    excerpt: str
    """Some of the row, so that it can be found."""


def find_sources(inputs: Sequence[str], *, suffix: str = ".csv") -> list[Path]:
    """Return the files that globs, folders and file names stand for, sorted, each once.

    Raises:
        UserError: One of `inputs` stands for no file.
    """
    found: dict[str, Path] = {}
    for pattern in inputs:
        if os.path.isdir(pattern):
            matches: Iterable[str] = map(str, Path(pattern).rglob(f"*{suffix}"))
        elif os.path.isfile(pattern):
            matches = [pattern]
        else:
            matches = glob.glob(pattern, recursive=True)
        files = [Path(match) for match in matches if os.path.isfile(match)]
        if not files:
            raise UserError(
                f"no file matches '{pattern}' (looked from {os.getcwd()}); give a folder of "
                f"{suffix} files, a file, or a quoted glob such as 'corpus/**/*{suffix}'"
            )
        found |= {os.path.abspath(file): file for file in files}
    return sorted(found.values())


def check_headers(sources: Sequence[Path], column: str) -> None:
    """Look into every file before the work begins.

    Raises:
        UserError: A file cannot be opened or has no column of that name.
    """
    for source in sources:
        with open_source(source) as stream:
            lines = _Lines(stream)
            _read_header(csv.reader(lines, strict=True), lines, column, source)


def open_source(source: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        UserError: The system refuses.
    """
    try:
        return source.open("rb")
    except OSError as error:
        raise UserError(
            f"cannot read {source}: {error.strerror}; make it readable or leave it out"
        ) from error


def read_rows(stream: BinaryIO, *, column: str, source: Path) -> Iterator[Document | SetAside]:
    """Yield the texts of one column in the order of the file; empty ones too.

    Args:
        stream: The bytes of the file; its position tells how far the reading is.
        column: Name of the column of texts.
        source: Name of the file, for messages.

    Raises:
        UserError: The file has no such column.
    """
    csv.field_size_limit(LONGEST_RECORD)
    lines = _Lines(stream)
    rows = csv.reader(lines, strict=True)
    header = _read_header(rows, lines, column, source)
    if not header:
        return
    position = header.index(column)
    while True:
        lines.begin_record()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield _broken(lines, error)
            lines.retry_after_first()
            continue
        if len(row) == len(header):
            yield _checked(row[position], lines.start)
        elif row:  # a blank line is no row
            detail = f"{len(row)} fields where the header has {len(header)}"
            yield SetAside(lines.start, "ragged row", detail, _excerpt("".join(lines.record)))


def _read_header(rows: Iterator[list[str]], lines: _Lines, column: str, source: Path) -> list[str]:
    """Return the names of the columns; none for an empty file."""
    try:
        header = next((row for row in rows if row), [])
    except csv.Error as error:
        raise UserError(
            f"{source}: the header is not CSV ({error}): {_excerpt(''.join(lines.record))}"
        ) from error
    if not header or header.count(column) == 1:
        return header
    names = ", ".join(map(_excerpt, header))
    if column in header:
        raise UserError(
            f"{source} has {header.count(column)} columns named '{column}' (columns: {names}); "
            "rename all but one"
        )
    near = difflib.get_close_matches(column, header, n=1)
    cure = f"did you mean --content-column {near[0]}?" if near else "name one of them"
    raise UserError(
        f"{source} has no column '{column}'; its columns are: {names}; "
        + (cure if near else f"{cure} with --content-column")
    )


def _checked(text: str, line: int) -> Document | SetAside:
    try:
        return Document(text, text.encode("utf-8"), line)
    except UnicodeEncodeError as error:
        around = _excerpt(text[max(0, error.start - _EXCERPT // 4) :])
        if text[error.start] == _NUL_MARK:
            return SetAside(line, "NUL character", f"at character {error.start}", around)
        byte = ord(text[error.start]) & 0xFF
        detail = f"byte 0x{byte:02X} at character {error.start}"
        return SetAside(line, "bad UTF-8", detail, around)


def _broken(lines: _Lines, error: csv.Error) -> SetAside:
    too_long = "field larger" in str(error) or isinstance(error, _TooLongError)
    if too_long:
        reason, detail = "too long", f"more than {LONGEST_RECORD} characters: an unclosed quote?"
    else:
        reason, detail = "broken quoting", str(error)
    return SetAside(lines.start, reason, detail, _excerpt(lines.record[0] if lines.record else ""))


def _excerpt(text: str) -> str:
    """Return the beginning of `text`, bad bytes written in hex."""
    data = text[:_EXCERPT].replace(_NUL_MARK, "\0").encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "backslashreplace")


class _TooLongError(csv.Error):
    pass


class _Lines:
    """The lines of a file for csv.reader, which can take up a record again after its first."""

    def __init__(self, stream: BinaryIO) -> None:
        self._text = io.TextIOWrapper(
            stream, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        self._again: deque[str] = deque()
        self._number = 0
        self._size = 0
        self.start = 1
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(LONGEST_RECORD)
        if not line:
            raise StopIteration
        self._number += 1
        self._size += len(line)
        self.record.append(line)
        if self._size >= LONGEST_RECORD:
            self._skip_rest_of(line)
            raise _TooLongError
        return line.replace("\0", _NUL_MARK) if "\0" in line else line

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self.start = self._number + 1
        self._size = 0
        self.record = []

    def retry_after_first(self) -> None:
        """Hand out the lines of the current record again, but for its first."""
        self._again.extendleft(reversed(self.record[1:]))
        self._number = self.start

    def _skip_rest_of(self, line: str) -> None:
        """Read on to the end of a line that is itself too long, keeping nothing of it."""
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(LONGEST_RECORD)
