"""Records that cannot be documents are described so that a user finds them."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.faults import (
    describe_bad_text,
    describe_too_long,
    make_excerpt,
    set_bad_aside,
)


def test_an_excerpt_is_short_and_shows_bad_bytes() -> None:
    assert make_excerpt("山水".encode() + b"\xff!") == "山水\\xff!"
    assert make_excerpt(("字" * 1000).encode()) == "字" * 80


@pytest.mark.parametrize(
    ("text", "encoding", "reason", "detail"),
    [
        ("山\0水".encode(), "utf-8", "NUL character", "at character 1"),
        ("山".encode() + b"\xff", "utf-8", "bad UTF-8", "byte 0xFF at character 1"),
        ("山".encode() + b"\xff", "gb18030", "bad encoding", "not valid GB18030 at character 1"),
        (b"a\0\xff", "utf-8", "NUL character", "at character 1"),
        (b"a\xff\0", "utf-8-sig", "bad UTF-8", "byte 0xFF at character 1"),
    ],
)
def test_the_first_fault_of_a_text_is_named(
    text: bytes, encoding: str, reason: str, detail: str
) -> None:
    fault = describe_bad_text(text, line=3, size=9, encoding=encoding)  # type: ignore[arg-type]
    assert fault is not None
    assert (fault.line, fault.reason, fault.detail, fault.size) == (3, reason, detail, 9)


def test_a_valid_text_has_no_fault() -> None:
    assert describe_bad_text("山水".encode(), line=1, size=6, encoding="utf-8") is None


def test_a_record_that_is_too_long_names_the_limit() -> None:
    fault = describe_too_long(7, 10**9, b"begin")
    assert fault.detail == f"1000000000 bytes; at most {limits.LONGEST_RECORD} are read"
    assert (fault.line, fault.excerpt, fault.size) == (7, "begin", 10**9)


def test_bad_documents_of_a_block_are_set_aside_in_the_order_of_their_lines() -> None:
    data, begins, ends = join_spans(["一".encode(), b"\xff", b"b\0", "二".encode()])
    lines, sizes = np.array([2, 3, 5, 6]), np.array([4, 2, 3, 4])
    before = (SetAside(4, "unclosed quote", "", "", 1),)
    block = set_bad_aside(Block(data, begins, ends, lines, sizes, before, 7), "utf-8")
    assert block.texts() == ["一", "二"] and block.lines.tolist() == [2, 6]
    assert [fault.line for fault in block.set_aside] == [3, 4, 5]
    assert int(block.sizes.sum()) + sum(fault.size for fault in block.set_aside) == 14
    assert set_bad_aside(block, "utf-8") is block  # nothing is bad any more
