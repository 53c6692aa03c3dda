"""The header of a CSV names the column that is read, or is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpt2zh.config.errors import UserError

from .conftest import Read


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            b"id,contents,date\n",
            "no column 'content'.*id, contents, date.*--content-column contents",
        ),
        (b"content,content\n", "2 columns named 'content'"),
        (b'"content"x,id\n', "the header is not valid CSV"),
        (b'"content\n1\n2\n', "the header is not valid CSV"),
        (b"content" + b",x" * 1000 + b"\n", "1001 columns"),
    ],
)
def test_header_that_cannot_serve_is_refused(read: Read, header: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read("a.csv", header)


def test_column_names_may_be_quoted_and_span_lines(read: Read) -> None:
    reading = read("a.csv", b'"a\nb","con""tent"\n1,x\n', content_column='con"tent')
    assert reading.documents == [(3, "x")]


@pytest.mark.parametrize("sign", [",", "\t"])
@pytest.mark.parametrize("chunk", [1, 4_000_000])
def test_rows_that_all_end_in_a_delimiter_are_read(
    read: Read, set_limits: Callable, sign: str, chunk: int
) -> None:
    set_limits(chunk=chunk)
    text = "id,content\n1,一,\n\n2,二,\n".replace(",", sign)
    reading = read("a.csv", text.encode())
    assert reading.texts == ["一", "二"] and not reading.aside
    text += "3,三\n4,四,五\n".replace(",", sign)
    reading = read("a.csv", text.encode())
    assert reading.texts == ["三"] and [fault.line for fault in reading.aside] == [2, 4, 6]


def test_a_single_row_that_ends_in_a_comma_shows_no_rule(read: Read) -> None:
    assert [fault.reason for fault in read("a.csv", b"id,content\n1,a,\n").aside] == ["ragged row"]


@pytest.mark.parametrize("chunk", [1, 4_000_000])
def test_a_header_that_ends_in_a_delimiter_where_the_rows_do_not_is_read(
    read: Read, set_limits: Callable, chunk: int
) -> None:
    set_limits(chunk=chunk)
    text = "id,content,\n1,一\n\n2,二\n"
    reading = read("a.csv", text.encode())
    assert reading.texts == ["一", "二"] and not reading.aside
    reading = read("a.csv", (text + "3,三,\n4\n").encode())
    assert reading.texts == ["三"] and [fault.line for fault in reading.aside] == [2, 4, 6]
    assert read("a.csv", b"id,content,\n1,a,\n2,b,\n").texts == ["a", "b"]
    assert read("a.csv", b"id,content,\n1,a,\n2,b\n3,c\n").texts == ["a"]


def test_a_known_cure_stands_alone(read: Read) -> None:
    with pytest.raises(UserError) as caught:
        read("a.csv", b"content,b,c\nabc\n", delimiter="a")
    assert str(caught.value).endswith(
        "(this looks like several, separated by comma); use --delimiter comma"
    )
