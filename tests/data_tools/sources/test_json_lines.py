"""JSON with a value in each line: an object with the key, or a bare string."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from json_cases import FAULTS, VALUES, raw

from gpt2zh.config.errors import UserError

BROKEN_LINES = [
    ('{"content": "x"', "bad JSON", "Expecting ',' delimiter at character 15"),
    ("x", "bad JSON", "Expecting value at character 0"),
    ('"a\tb"', "bad JSON", "Invalid control character"),
    ("[" * 100_000, "bad JSON", "recursion"),
    ('"a" "b"', "bad JSON", "Extra data"),
    ('"a\0"', "NUL character", "at character 2"),
    ("9" * 5000, "bad JSON", "integer string"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("chunk", [1, 11, 4_000_000])
def test_lines_are_values(read: Callable, set_limits: Callable, line_end: str, chunk: int) -> None:
    set_limits(chunk=chunk, documents=3 if chunk == 11 else 0)
    text = "\ufeff" + line_end.join(["", *(value for value, _ in VALUES), ""])
    reading = read("a.jsonl", text.encode())
    assert reading.documents == [(n, wanted) for n, (_, wanted) in enumerate(VALUES, 2)]
    assert reading.overhead == 3 + len(line_end)


@pytest.mark.parametrize(("value", "reason", "detail"), [*FAULTS, *BROKEN_LINES])
def test_broken_line_is_set_aside(read: Callable, value: str, reason: str, detail: str) -> None:
    reading = read("a.ndjson", b'"good"\n' + raw(value) + b'\n\n"good"\n', encoding="utf-8")
    assert reading.documents == [(1, "good"), (4, "good")]
    assert reading.faults == [(2, reason, len(raw(value)) + 1)]
    assert detail in reading.aside[0].detail


def test_line_too_long_is_set_aside(read: Callable, set_limits: Callable) -> None:
    set_limits(longest=100, chunk=30)
    reading = read("a.jsonl", b'"a"\n"' + b"x" * 500 + b'"\n"b"\n')
    assert reading.documents == [(1, "a"), (3, "b")] and reading.faults == [(2, "too long", 503)]


def test_json_file_may_hold_lines(read: Callable) -> None:
    assert read("a.json", b'{"content": "a"}\n{"content": "b"}\n').documents == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("data", ['{"contents": "x"}\n{"id": 1}', '[{"id": 1}, {"contents": ""}]'])
def test_key_that_no_object_has_is_refused(read: Callable, data: str) -> None:
    with pytest.raises(UserError, match=r"no key 'content'.*--content-column contents"):
        read("a.json", data.encode())
    assert read("a.json", data.encode(), content_column="contents").texts
