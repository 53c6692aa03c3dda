"""Where the records of a CSV file begin and end: one compiled scanner, for reading and for cutting.

It goes through raw UTF-8 in a buffer, character by character, with the rules of Python's
`csv.reader(strict=True)`, and judges one record at a time. A record of several lines in which
something is wrong was opened by a quote that nobody closed: only its first line is given up, and
the scanner goes on in the next one.

Such an attempt may look far ahead, and the line after it may try again; still no byte is looked at
more than (columns + 2) times. An attempt ends as soon as a record of several lines has more fields
than the header. And each line that opens a quote of its own ends at least one field for those who
come to it within quotes: if it ended none, all its runs of quotes would be even, and from outside
of quotes such a line opens nothing. So at most (columns + 1) attempts are in the air over any byte.
"""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays

MORE, GOOD, BLANK, BAD_TEXT, RAGGED, BROKEN, UNCLOSED, TOO_LONG = range(8)
"""Verdicts on a record: the buffer ends before it does; fine; an empty line; bytes in the wanted
field that are no UTF-8, or NUL; a line with another number of fields than the header; text after a
closing quote; a quote that is not closed in its record; a line beyond the longest record."""

WHY_TEXT, WHY_FIELDS, WHY_LENGTH, WHY_END = range(4)
"""How an unclosed quote was found: by text after a closing quote, the number of fields, the length
of the record, the end of the file."""

FAULT_COLUMNS = ("verdict", "begin", "size", "line", "field_begin", "field_end", "why", "fields")

_LF, _CR, _QUOTE, _COMMA = 10, 13, 34, 44

_ZERO, _ONE, _EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
_BYTE = np.uint64(0xFF)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)


@compiled
def _after_line_end(data, at, end, is_last):  # type: ignore[no-untyped-def]
    """Return the byte after the line end at `at`; -1 if only a byte beyond the buffer can tell."""
    if data[at] == _LF:
        return at + 1
    if at + 1 < end:
        return at + 2 if data[at + 1] == _LF else at + 1
    return at + 1 if is_last else -1


@compiled
def _eight_bytes(data, at):  # type: ignore[no-untyped-def]
    """Return data[at : at + 8] as one number; LLVM makes a single load of it."""
    word = np.uint64(data[at])
    for ahead in range(1, 8):
        word |= np.uint64(data[at + np.uint64(ahead)]) << np.uint64(8 * ahead)
    return word


@compiled
def _zeros(word):  # type: ignore[no-untyped-def]
    """Return a number whose lowest byte that is not 0 is the lowest byte of `word` that is 0."""
    return (word - _ONES) & ~word & _HIGHS


@compiled
def find_sign(data, begin, stop, mark):  # type: ignore[no-untyped-def]
    """Return the place of the next `mark`, LF or CR in data[begin:stop]; else `stop`."""
    at, last = np.uint64(begin), np.uint64(stop)
    marks, feeds, returns = np.uint64(mark) * _ONES, np.uint64(_LF) * _ONES, np.uint64(_CR) * _ONES
    while at + _EIGHT <= last:
        word = _eight_bytes(data, at)
        hits = _zeros(word ^ marks) | _zeros(word ^ feeds) | _zeros(word ^ returns)
        if hits != _ZERO:
            while hits & _BYTE == _ZERO:
                hits >>= _EIGHT
                at += _ONE
            return np.int64(at)
        at += _EIGHT
    while at < last:
        byte = data[at]
        if byte in (mark, _LF, _CR):
            break
        at += _ONE
    return np.int64(at)


@compiled
def _quoted_field(data, at, stop, end):  # type: ignore[no-untyped-def]
    """Go to the closing quote, at most to `stop` and the byte after it.

    Returns:
        Where it is, doubled quotes, line ends, byte after the first line end.
    """
    doubled, line_ends, after_first = 0, 0, -1
    while True:
        at = find_sign(data, at, stop, _QUOTE)
        if at >= stop:
            break
        if data[at] == _QUOTE:
            if at + 1 >= end or data[at + 1] != _QUOTE:
                break
            doubled += 1
            at += 2
        else:
            at += 1
            if data[at - 1] == _LF or at >= end or data[at] != _LF:
                line_ends += 1
                if after_first < 0:
                    after_first = at
    return at, doubled, line_ends, after_first


@compiled
def _first_line(data, at, end, limit, is_last):  # type: ignore[no-untyped-def]
    """Return the byte after the line that goes on at `at`; -1 for MORE, -2 for TOO_LONG."""
    stop = min(end, limit)
    at = find_sign(data, at, stop, _LF) if at < stop else at
    if at < stop:
        return _after_line_end(data, at, end, is_last)
    if end <= limit and not is_last:
        return -1
    return -2 if at >= limit else end


@compiled
def _scan_fields(data, at, end, is_last, width, column, limit):  # type: ignore[no-untyped-def]
    """Go through the fields of a record until it ends or fails; see `scan_record`."""
    stop = min(end, limit)
    fields, lines, after_first = 0, 1, -1
    field_begin, field_end, escapes = at, at, 0
    while True:
        begin, doubled = at, 0
        is_quoted = at < stop and data[at] == _QUOTE
        if is_quoted:
            begin += 1
            until, doubled, ends, after = _quoted_field(data, begin, stop, end)
            lines += ends
            after_first = after if after_first < 0 else after_first
        else:
            until = find_sign(data, at, stop, _COMMA)
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
            elif data[at] != _COMMA and data[at] != _LF and data[at] != _CR:
                verdict = BROKEN
        if verdict != GOOD:
            break
        if fields == column:
            field_begin, field_end, escapes = begin, until, doubled
        fields += 1
        if at >= end:
            break
        if data[at] != _COMMA:
            at = _after_line_end(data, at, end, is_last)
            verdict = MORE if at < 0 else GOOD
            break
        at += 1
        if after_first >= 0 and fields >= width >= 0:
            verdict, why, fields = UNCLOSED, WHY_FIELDS, fields + 1
            break
    return verdict, at, lines, after_first, field_begin, field_end, escapes, fields, why


@compiled
def scan_record(data, begin, end, is_last, width, column, longest):  # type: ignore[no-untyped-def]
    """Judge the record that begins at `begin`.

    Args:
        data: (s,) uint8.
        begin: Its first byte.
        end: One past the last byte that is there.
        is_last: Whether the file ends at `end`.
        width: Fields of the header; -1 if any number will do.
        column: Number of the wanted field.
        longest: Most bytes of a record.

    Returns:
        verdict: One of those above.
        next: Where the next record begins; for MORE and TOO_LONG nothing that can be used.
        lines: Lines between here and there.
        field_begin, field_end: The wanted field, without its quotes.
        escapes: Quotes in it that are written twice.
        fields: Number of fields, as far as the scan went.
        seen: One past the farthest byte that was looked at for this verdict.
        why: How an unclosed quote was found.
    """
    if data[begin] == _LF or data[begin] == _CR:
        after = _after_line_end(data, begin, end, is_last)
        return (MORE if after < 0 else BLANK), after, 1, begin, begin, 0, 0, after, WHY_END
    limit = begin + longest + 1
    found = _scan_fields(data, begin, end, is_last, width, column, limit)
    verdict, at, lines, after_first, field_begin, field_end, escapes, fields, why = found
    seen = at if verdict == GOOD else min(at + 1, end)
    if verdict == GOOD and fields != width and width >= 0:
        verdict, why = (RAGGED if after_first < 0 else UNCLOSED), WHY_FIELDS
    elif verdict == BROKEN and after_first >= 0:
        verdict, why = UNCLOSED, WHY_TEXT
    if verdict in (BROKEN, UNCLOSED):
        if after_first < 0:
            after_first = _first_line(data, at, end, limit, is_last)
        if after_first == -1:
            verdict = MORE
        elif after_first == -2:
            verdict = TOO_LONG
        at, lines = after_first, 1
    return verdict, at, lines, field_begin, field_end, escapes, fields, seen, why


@compiled
def _is_out_of_place(byte, before, second, third):  # type: ignore[no-untyped-def]
    """Tell whether a byte is NUL or cannot follow the three before it in UTF-8; 0 or 1."""
    follows = np.uint8(byte & np.uint8(0xC0) == 0x80)
    due = np.uint8(before >= 0xC0) | np.uint8(second >= 0xE0) | np.uint8(third >= 0xF0)
    wrong = follows ^ due | np.uint8(byte == 0) | np.uint8(byte > 0xF4)
    wrong |= np.uint8(byte & np.uint8(0xFE) == 0xC0)
    wrong |= np.uint8(before == 0xE0) & np.uint8(byte < 0xA0)
    wrong |= np.uint8(before == 0xED) & np.uint8(byte >= 0xA0)
    wrong |= np.uint8(before == 0xF0) & np.uint8(byte < 0x90)
    return wrong | np.uint8(before == 0xF4) & np.uint8(byte >= 0x90)


@compiled
def _count_wrong(data, before, second, third):  # type: ignore[no-untyped-def]
    """Go through four views of the same bytes, each one further; LLVM takes 32 at a time."""
    wrong = np.uint8(0)
    for number in range(len(data)):
        wrong |= _is_out_of_place(data[number], before[number], second[number], third[number])
    return wrong


@compiled_with_arrays
def is_clean(data):  # type: ignore[no-untyped-def]
    """Tell whether bytes are UTF-8 without NUL; the last character may be cut off."""
    head = np.zeros(6, np.uint8)
    size = min(3, len(data))
    head[3 : 3 + size] = data[:size]
    wrong = _count_wrong(head[3 : 3 + size], head[2:], head[1:], head)
    if len(data) > 3:
        wrong |= _count_wrong(data[3:], data[2:], data[1:], data)
    return wrong == 0


@compiled_with_arrays
def _is_text(data, begin, end):  # type: ignore[no-untyped-def]
    """Tell whether some bytes are UTF-8 without NUL, to the last character."""
    tail = max(begin, end - 3)
    for at in range(tail, end):
        whole = 2 if data[at] < 0xE0 else 3 if data[at] < 0xF0 else 4
        if data[at] >= 0xC0 and at + whole > end:
            return False
    return is_clean(data[begin:end])


@compiled
def _unescape(data, begin, end):  # type: ignore[no-untyped-def]
    """Write each doubled quote once, in place; return the new end."""
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
def read_records(  # type: ignore[no-untyped-def]
    data, begin, end, is_last, width, column, longest, is_text, line, documents, faults
):
    """Read records until the buffer or the room for results is used up, or a line is too long.

    Doubled quotes of the wanted fields are written once, in place.

    Args:
        data: (s,) uint8, may be written to; for the next six see `scan_record`.
        begin: See there.
        end: See there.
        is_last: See there.
        width: See there.
        column: See there.
        longest: See there.
        is_text: Whether all fields are known to be UTF-8 without NUL; else it is looked up.
        line: Line at `begin`.
        documents: (4, n) int64, to be filled with begin, end, line and size of the documents.
        faults: (n, 8) int64, to be filled with `FAULT_COLUMNS`.

    Returns:
        Where the next record begins, its line, records, documents, faults, bytes of blank lines,
        verdict: GOOD if there is no room, MORE, or TOO_LONG for a line that must be skipped.
    """
    records, count, faulty, blank, verdict = 0, 0, 0, 0, GOOD
    while count < documents.shape[1] and faulty < len(faults):
        if begin >= end:
            verdict = MORE
            break
        found = scan_record(data, begin, end, is_last, width, column, longest)
        verdict, after, lines, field_begin, field_end, escapes, fields, _, why = found
        if verdict in (MORE, TOO_LONG):
            break
        records += verdict != BLANK
        if verdict == GOOD and not (is_text or _is_text(data, field_begin, field_end)):
            verdict = BAD_TEXT
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
            values = (verdict, begin, after - begin, line, field_begin, field_end, why, fields)
            for number in range(len(values)):
                faults[faulty, number] = values[number]
            faulty += 1
        begin = after
        line += lines
        verdict = GOOD
    return begin, line, records, count, faulty, blank, verdict


@compiled
def find_record(  # type: ignore[no-untyped-def]
    data, begin, end, is_last, width, longest, line, target, seen
):
    """Go to the first record at or behind `target` that no record before it has looked at.

    Args:
        data: See `scan_record`.
        begin: See there.
        end: See there.
        is_last: See there.
        width: See there.
        longest: See there.
        line: Line at `begin`.
        target: A place in `data`, or behind it.
        seen: One past the farthest byte that records before `begin` have looked at.

    Returns:
        Where the next record begins, its line, seen, verdict: GOOD if it is the one, MORE, or
        TOO_LONG for a line that must be skipped.
    """
    while True:
        if begin >= target and begin >= seen:
            return begin, line, seen, GOOD
        if begin >= end:
            return begin, line, seen, MORE
        found = scan_record(data, begin, end, is_last, width, -1, longest)
        verdict, after, lines = found[0], found[1], found[2]
        if verdict in (MORE, TOO_LONG):
            return begin, line, seen, verdict
        seen = max(seen, found[7])
        begin = after
        line += lines
