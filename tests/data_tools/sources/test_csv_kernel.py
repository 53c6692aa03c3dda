"""Verdicts on the records of a buffer, which reading and cutting share."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.sources.csv_kernel import (
    BLANK,
    BROKEN,
    FAULT_COLUMNS,
    GOOD,
    MORE,
    RAGGED,
    TOO_LONG,
    UNCLOSED,
    WHY_END,
    WHY_FIELDS,
    WHY_LENGTH,
    WHY_TEXT,
    Rules,
    Span,
    find_record,
    read_records,
    scan_record,
)

RULES = Rules(width=2, column=1, longest=30)


def span(data: bytes, begin: int = 0, *, is_last: bool = True) -> Span:
    return Span(np.frombuffer(bytearray(data), np.uint8), begin, len(data), is_last)


@pytest.mark.parametrize(
    ("data", "verdict", "after", "lines"),
    [
        (b"1,x\n2", GOOD, 4, 1),
        (b'1,"x\ny"\r\n2', GOOD, 9, 2),
        (b"1,x", GOOD, 3, 1),
        (b"\r\n1", BLANK, 2, 1),
        (b"1\n2,x", RAGGED, 2, 1),
        (b'1,"x"y\n2', BROKEN, 7, 1),
        (b'1,"x\n2,y\n', UNCLOSED, 5, 1),  # the rest of the file is read again
        (b"1," + b"x" * 40 + b"\n", TOO_LONG, None, 1),
    ],
)
def test_a_record_is_judged(data: bytes, verdict: int, after: int | None, lines: int) -> None:
    found = scan_record(span(data), RULES)
    assert (found[0], found[2]) == (verdict, lines)
    assert after is None or found[1] == after


@pytest.mark.parametrize("data", [b"1,x", b'1,"x', b'1,"x"', b"1,x\r", b"\r", b'1,"x"y'])
def test_what_is_not_read_to_its_end_yet_waits_for_more(data: bytes) -> None:
    assert scan_record(span(data, is_last=False), RULES)[0] == MORE
    assert scan_record(span(data), RULES)[0] != MORE


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'1,"x\n2,"y\n', WHY_TEXT),
        (b'1,"x\n",3\n', WHY_FIELDS),
        (b'1,"x\n' + b"y" * 40, WHY_LENGTH),
        (b'1,"x\n2,y', WHY_END),
    ],
)
def test_what_shows_an_unclosed_quote_is_reported(data: bytes, why: int) -> None:
    found = scan_record(span(data), RULES)
    assert (found[0], found[8]) == (UNCLOSED, why)


def test_an_attempt_looks_ahead_only_as_far_as_there_are_fields() -> None:
    """Each of these lines could swallow all that follow; only the number of fields stops it."""
    table = span(b'a""",x,"\n' * 2000)
    rules = Rules(width=3, column=1, longest=16_000_000)
    seen = [scan_record(table._replace(begin=9 * n), rules)[7] - 9 * n for n in range(1000)]
    assert max(seen) < 9 * (3 + 2)


def read(data: bytes, room: int) -> tuple[list[bytes], np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return the documents, their table, the faults, and all other results."""
    table, documents = span(data), np.empty((4, room), np.int64)
    faults = np.empty((room, len(FAULT_COLUMNS)), np.int64)
    begin, line, records, taken, faulty, blank, verdict = read_records(
        table, RULES, 1, documents, faults
    )
    texts = [table.data[b:e].tobytes() for b, e in documents[:2, :taken].T]
    return texts, documents[:, :taken], faults[:faulty], (begin, line, records, blank, verdict)


def test_records_are_read_with_their_places_and_faults() -> None:
    texts, documents, faults, rest = read(b'1,"a""\nb"\n\n2\n3,c\n', room=9)
    assert texts == [b'a"\nb', b"c"]
    assert documents[2:].tolist() == [[1, 5], [10, 4]]
    (fault,) = (dict(zip(FAULT_COLUMNS, row, strict=True)) for row in faults.tolist())
    assert fault == {
        "verdict": RAGGED, "begin": 11, "size": 2, "line": 4, "why": WHY_FIELDS, "fields": 1
    }  # fmt: skip
    assert rest == (17, 6, 3, 1, MORE)


def test_reading_stops_when_the_room_is_used_up_and_before_a_line_too_long() -> None:
    texts, _, _, (begin, line, records, _, verdict) = read(b"1,a\n2,b\n3,c\n", room=2)
    assert (texts, begin, line, records, verdict) == ([b"a", b"b"], 8, 3, 2, GOOD)
    texts, _, _, (begin, line, _, _, verdict) = read(b"1,a\n2," + b"b" * 40 + b"\n", room=9)
    assert (texts, begin, line, verdict) == ([b"a"], 4, 2, TOO_LONG)


def test_a_cut_lies_behind_the_target_and_all_that_earlier_verdicts_saw() -> None:
    data = b'1,a\n2,"b\n3,c\n4,"d"\n5,e\n'
    assert find_record(span(data), RULES, 1, 0, 0) == (0, 1, 0, GOOD)
    assert find_record(span(data), RULES, 1, 3, 0)[:2] == (4, 2)
    begin, line, _, verdict = find_record(span(data), RULES, 1, 5, 0)
    assert (data[begin:], line, verdict) == (b"5,e\n", 5, GOOD)  # line 4 shows what line 2 is
    closed = data.replace(b'"b', b"b")
    begin, line, _, _ = find_record(span(closed), RULES, 1, 5, 0)
    assert (closed[begin:], line) == (b'3,c\n4,"d"\n5,e\n', 3)
    assert find_record(span(data), RULES, 1, 99, 0)[3] == MORE
