"""The header of a CSV names the column that is read, or is refused."""

from __future__ import annotations

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
