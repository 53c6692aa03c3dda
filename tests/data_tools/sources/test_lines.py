"""A stream as lines, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from data_tools.sources.lines import Lines, LongLine, read_lines
from data_tools.sources.window import Window

from .conftest import Stream

LINES = [b"one\r\n", b"\n", b"\r", b" \t\xe3\x80\x80\n", "、\n".encode(), b"last"]


def parts_of(data: bytes, line: int = 1) -> list[Lines | LongLine]:
    return list(read_lines(Window(Stream(data)), line))  # type: ignore[arg-type]


def raw(part: Lines) -> list[bytes]:
    """Return the lines with their ends."""
    spans = zip(part.begins.tolist(), part.nexts.tolist(), strict=True)
    return [part.data[begin:end].tobytes() for begin, end in spans]


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_lines_come_back_whole_wherever_the_buffer_ends(set_limits: Callable, chunk: int) -> None:
    set_limits(chunk=chunk)
    parts = [part for part in parts_of(b"".join(LINES), line=5) if isinstance(part, Lines)]
    assert [line for part in parts for line in raw(part)] == LINES
    numbers = [part.number + at for part in parts for at in range(len(part.begins))]
    assert numbers == list(range(5, 11))
    places = [part.offset + int(begin) for part in parts for begin in part.begins]
    assert places == [sum(map(len, LINES[:number])) for number in range(len(LINES))]


def test_a_line_ends_before_its_line_end_and_blank_ones_are_known() -> None:
    (part,) = parts_of(b"".join(LINES))
    assert isinstance(part, Lines)
    ends = [part.data[e:n].tobytes() for e, n in zip(part.ends, part.nexts, strict=True)]
    assert ends == [b"\r\n", b"\n", b"\r", b"\n", b"\n", b""]
    assert part.find_blank().tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize("line", [b"\xe3", b"\xe3\x80", b" \x80", b"\xe3\x80\x80\x80", b"\xe3\xe3"])
def test_a_line_of_broken_spaces_is_not_blank(line: bytes) -> None:
    (part,) = parts_of(line + b"\n \xe3\x80\x80\t\xe3\x80\x80\n")
    assert isinstance(part, Lines)
    assert part.find_blank().tolist() == [False, True]


def test_no_part_holds_more_lines_than_a_block(set_limits: Callable) -> None:
    set_limits(documents=4)
    sizes = [len(part.begins) for part in parts_of(b"x\n" * 10) if isinstance(part, Lines)]
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("chunk", [4, 1000])
def test_a_long_line_stands_alone_and_keeps_only_its_start(
    set_limits: Callable, chunk: int
) -> None:
    set_limits(longest=20, chunk=chunk)
    parts = parts_of(b"a\n" + b"x" * 900 + b"\r\nb")
    (long,) = (part for part in parts if isinstance(part, LongLine))
    assert (long.size, long.number) == (902, 2) and long.start == b"x" * len(long.start)
    assert 20 < len(long.start) <= 320
    lines = [part for part in parts if isinstance(part, Lines) and len(part.begins)]
    assert [(part.number, raw(part)) for part in lines] == [(1, [b"a\n"]), (3, [b"b"])]
