"""Find where the records of a CSV file begin and end. Reading and cutting share this scanner.

The scanner reads raw UTF-8 from a buffer with the rules of Python's `csv.reader(strict=True)`, and
judges one record at a time. If a record of several lines has a fault, a quote was opened and never
closed. Then only the first line is given up, and the scanner continues with the next line.

Such an attempt may look far ahead, and the next line may try again. Still, no byte is looked at
more than (columns + 2) times:
- An attempt ends as soon as a record of several lines has more fields than the header.
- A line that opens a quote ends at least one field for an attempt that reaches it inside quotes.
  If it ended none, all its runs of quotes would be even, and then it would open no quote when read
  from outside quotes. So at most (columns + 1) attempts pass over any byte.

The scanner is compiled by numba, not written in C, so users need no compiler. Whether the fields
are valid text is checked later, by `faults.set_bad_aside`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_tools.sources.mark_kernel import CR, LF, find_mark, skip_line_end
from gpt2zh.text.kernels.compiled import compiled

MORE, GOOD, BLANK, RAGGED, BROKEN, UNCLOSED, TOO_LONG = range(7)
"""Verdicts on a record: it goes on beyond the buffer; no fault; an empty line; one line
with another number of fields than the header; text after a closing quote; a quote that is not
closed in its record; a line longer than the longest record."""

WHY_TEXT, WHY_FIELDS, WHY_LENGTH, WHY_END = range(4)
"""What showed that a quote is not closed: text after a closing quote, the number of fields, the
length of the record, or the end of the file."""

FAULT_COLUMNS = ("verdict", "begin", "size", "line", "why", "fields")

_QUOTE, _COMMA = 34, 44


class Span(NamedTuple):
    """A part of a buffer."""

    data: np.ndarray
    """(s,) uint8."""
    begin: int
    """First byte."""
    end: int
    """One past the last byte that was read from the file."""
    is_last: bool
    """Whether the file ends at `end`."""


class Rules(NamedTuple):
    """What a record must look like."""

    width: int
    """Fields of the header; -1 accepts any number."""
    column: int
    """Number of the wanted field, from 0; -1 for none."""
    longest: int
    """Most bytes of a record."""


@compiled
def _scan_quoted(data, at, stop, end):  # type: ignore[no-untyped-def]
    """Find the closing quote, searching up to `stop` and one byte more.

    Returns:
        Its position, the number of doubled quotes, the number of line ends, and the byte after the
        first line end (-1 if there is none).
    """
    doubled, line_ends, after_first = 0, 0, -1
    while True:
        at = find_mark(data, at, stop, _QUOTE)
        if at >= stop:
            break
        if data[at] == _QUOTE:
            if at + 1 >= end or data[at + 1] != _QUOTE:
                break
            doubled += 1
            at += 2
        else:
            at += 1
            if data[at - 1] == LF or at >= end or data[at] != LF:
                line_ends += 1
                if after_first < 0:
                    after_first = at
    return at, doubled, line_ends, after_first


@compiled
def _find_next_line(data, at, end, limit, is_last):  # type: ignore[no-untyped-def]
    """Return the byte after the line that contains `at`; -1 for MORE, -2 for TOO_LONG."""
    stop = min(end, limit)
    at = find_mark(data, at, stop, LF) if at < stop else at
    if at < stop:
        return skip_line_end(data, at, end, is_last)
    if end <= limit and not is_last:
        return -1
    return -2 if at >= limit else end


@compiled
def _scan_fields(span, rules, limit):  # type: ignore[no-untyped-def]
    """Scan the fields of the record at `span.begin` until it ends or fails; see `scan_record`."""
    data, at, end, is_last = span
    width, column, _ = rules
    stop = min(end, limit)
    fields, lines, after_first = 0, 1, -1
    field_begin, field_end, escapes = at, at, 0
    while True:
        begin, doubled = at, 0
        is_quoted = at < stop and data[at] == _QUOTE
        if is_quoted:
            begin += 1
            until, doubled, ends, after = _scan_quoted(data, begin, stop, end)
            lines += ends
            after_first = after if after_first < 0 else after_first
        else:
            until = find_mark(data, at, stop, _COMMA)
        at = until
        verdict, why = GOOD, WHY_END
        if at >= stop:
            if end <= limit and not is_last:
                verdict = MORE
            elif at >= limit:
                verdict, why = UNCLOSED, WHY_LENGTH
            elif is_quoted:
                verdict = UNCLOSED
        elif is_quoted:
            at += 1
            if at >= limit:
                verdict, why = UNCLOSED, WHY_LENGTH
            elif at == end:
                verdict = GOOD if is_last else MORE
            elif data[at] != _COMMA and data[at] != LF and data[at] != CR:
                verdict = BROKEN
        if verdict != GOOD:
            break
        if fields == column:
            field_begin, field_end, escapes = begin, until, doubled
        fields += 1
        if at >= end:
            break
        if data[at] != _COMMA:
            at = skip_line_end(data, at, end, is_last)
            verdict = MORE if at < 0 else GOOD
            break
        at += 1
        if after_first >= 0 and fields >= width >= 0:
            verdict, why, fields = UNCLOSED, WHY_FIELDS, fields + 1
            break
    return verdict, at, lines, after_first, field_begin, field_end, escapes, fields, why


@compiled
def scan_record(span, rules):  # type: ignore[no-untyped-def]
    """Judge the record that begins at `span.begin`.

    Args:
        span: A `Span`.
        rules: `Rules`.

    Returns:
        verdict: One of the verdicts above.
        next: Where the next record begins; has no meaning for MORE and TOO_LONG.
        lines: Number of lines between `span.begin` and `next`.
        field_begin, field_end: The wanted field, without its quotes.
        escapes: Number of doubled quotes in the wanted field.
        fields: Number of fields that were scanned.
        seen: One past the farthest byte that this verdict depends on.
        why: What showed that a quote is not closed.
    """
    data, begin, end, is_last = span
    width = rules.width
    if data[begin] == LF or data[begin] == CR:
        after = skip_line_end(data, begin, end, is_last)
        return (MORE if after < 0 else BLANK), after, 1, begin, begin, 0, 0, after, WHY_END
    limit = begin + rules.longest + 1
    found = _scan_fields(span, rules, limit)
    verdict, at, lines, after_first, field_begin, field_end, escapes, fields, why = found
    seen = at if verdict == GOOD else min(at + 1, end)
    if verdict == GOOD and fields != width and width >= 0:
        verdict, why = (RAGGED if after_first < 0 else UNCLOSED), WHY_FIELDS
    elif verdict == BROKEN and after_first >= 0:
        verdict, why = UNCLOSED, WHY_TEXT
    if verdict in (BROKEN, UNCLOSED):
        if after_first < 0:
            after_first = _find_next_line(data, at, end, limit, is_last)
        if after_first == -1:
            verdict = MORE
        elif after_first == -2:
            verdict = TOO_LONG
        at, lines = after_first, 1
    return verdict, at, lines, field_begin, field_end, escapes, fields, seen, why


@compiled
def _unescape(data, begin, end):  # type: ignore[no-untyped-def]
    """Replace each doubled quote by one quote, in place; return the new end."""
    to = at = begin
    while at < end:
        quote = at
        while quote < end and data[quote] != _QUOTE:
            quote += 1
        size = min(quote + 1, end) - at
        if to < at:
            for number in range(size):
                data[to + number] = data[at + number]
        to += size
        at = quote + 2
    return to


@compiled
def read_records(span, rules, line, documents, faults):  # type: ignore[no-untyped-def]
    """Read records until the buffer or the room for results is used up, or a line is too long.

    Doubled quotes of the wanted fields are replaced by one quote, in place.

    Args:
        span: A `Span` whose data is writable.
        rules: `Rules`.
        line: Line at `span.begin`.
        documents: (4, n) int64, filled with begin, end, line and size of the documents.
        faults: (n, 6) int64, filled with `FAULT_COLUMNS`.

    Returns:
        Where the next record begins; its line; the number of records, of documents and of faults;
        the bytes of blank lines; and a verdict: GOOD if the room is used up, MORE, or TOO_LONG for
        a line that the caller must skip.
    """
    data, begin, end, is_last = span
    records, count, faulty, blank, verdict = 0, 0, 0, 0, GOOD
    while count < documents.shape[1] and faulty < len(faults):
        if begin >= end:
            verdict = MORE
            break
        found = scan_record(Span(data, begin, end, is_last), rules)
        verdict, after, lines, field_begin, field_end, escapes, fields, _, why = found
        if verdict in (MORE, TOO_LONG):
            break
        records += verdict != BLANK
        if verdict == GOOD:
            if escapes > 0:
                field_end = _unescape(data, field_begin, field_end)
            documents[0, count] = field_begin
            documents[1, count] = field_end
            documents[2, count] = line
            documents[3, count] = after - begin
            count += 1
        elif verdict == BLANK:
            blank += after - begin
        else:
            values = (verdict, begin, after - begin, line, why, fields)
            for number in range(len(values)):
                faults[faulty, number] = values[number]
            faulty += 1
        begin = after
        line += lines
        verdict = GOOD
    return begin, line, records, count, faulty, blank, verdict


@compiled
def find_record(span, rules, line, target, seen):  # type: ignore[no-untyped-def]
    """Find the first record at or after `target` that no earlier verdict depends on.

    Args:
        span: A `Span`.
        rules: `Rules`.
        line: Line at `span.begin`.
        target: Position in the buffer, or beyond its end.
        seen: One past the farthest byte that the verdicts before `span.begin` depend on.

    Returns:
        Where the next record begins, its line, the new `seen`, and a verdict: GOOD if the record
        was found, MORE, or TOO_LONG for a line that the caller must skip.
    """
    data, begin, end, is_last = span
    while True:
        if begin >= target and begin >= seen:
            return begin, line, seen, GOOD
        if begin >= end:
            return begin, line, seen, MORE
        found = scan_record(Span(data, begin, end, is_last), rules)
        verdict, after, lines = found[0], found[1], found[2]
        if verdict in (MORE, TOO_LONG):
            return begin, line, seen, verdict
        seen = max(seen, found[7])
        begin = after
        line += lines
