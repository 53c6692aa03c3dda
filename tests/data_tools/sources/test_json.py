"""JSON: a value in each line, or one list; objects with the key, or bare strings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from data_tools.sources import source
from gpt2zh.config.errors import UserError

VALUES = [
    ('{"id": 1, "content": "一\\n\\"\\u4e8c\\ud83d\\ude00"}', '一\n"二😀'),
    ('"bare"', "bare"),
    ('{"content": null}', ""),
    ("null", ""),
    ('{"content": "", "deep": [[{"content": 1}]]}', ""),
]
FAULTS = [
    ('{"text": "x"}', "missing key", "no key 'content'; its keys are: text"),
    ('{"content": 5}', "not a string", "'content' is of type int"),
    ("[1]", "not a string", "it is of type list"),
    ("12", "not a string", "it is of type int"),
    ('"a\\ud800"', "lone surrogate", "U+D800 at character 1"),
    ('"a\\u0000"', "NUL character", "at character 1"),
    ('"a\xff"', "bad UTF-8", "byte 0xFF at character 2"),
]
BROKEN_LINES = [
    ('{"content": "x"', "bad JSON", "Expecting ',' delimiter at character 15"),
    ("x", "bad JSON", "Expecting value at character 0"),
    ('"a\tb"', "bad JSON", "Invalid control character"),
    ("[" * 100_000, "bad JSON", "recursion"),
    ('"a" "b"', "bad JSON", "Extra data"),
    ('"a\0"', "NUL character", "at character 2"),
    ("9" * 5000, "bad JSON", "integer string"),
]


def raw(text: str) -> bytes:
    """UTF-8, but for one character that becomes a bad byte."""
    return text.encode().replace("\xff".encode(), b"\xff")


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


@pytest.mark.parametrize("chunk", [1, 7, 50, 4_000_000])
@pytest.mark.parametrize("between", [",", " ,\r\n\t"])
def test_list_is_read_element_by_element(
    read: Callable, set_limits: Callable, chunk: int, between: str
) -> None:
    set_limits(chunk=chunk, documents=2 if chunk == 50 else 0)
    items = [*VALUES, *((value, None) for value, *_ in FAULTS)]
    random.Random(1).shuffle(items)
    reading = read(
        "a.json", raw("\ufeff [ " + between.join(v for v, _ in items) + " ]\n "), encoding="utf-8"
    )
    wanted = [(n, text) for n, (_, text) in enumerate(items, 1) if text is not None]
    assert reading.documents == wanted
    reasons = {value: reason for value, reason, _ in FAULTS}
    assert reading.faults == [
        (n, reasons[value], len(raw(value))) for n, (value, text) in enumerate(items, 1)
        if text is None
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", range(1, 12))
def test_number_at_the_edge_of_the_buffer_is_read_to_its_end(
    read: Callable, set_limits: Callable, chunk: int
) -> None:
    set_limits(chunk=chunk)
    reading = read("a.json", b'[1234567890, "x",-1234567890]')
    assert reading.documents == [(2, "x")]
    assert reading.faults == [(1, "not a string", 10), (3, "not a string", 11)]


@pytest.mark.parametrize(
    ("rest", "detail"),
    [
        ('{"content": "x", "y" 1}, "lost"]', "Expecting ':' delimiter at character 21"),
        ('"never closed, "lost"]', "Expecting ',' delimiter|',' is expected, not l"),
        ('"x" "lost"]', "',' is expected, not \""),
        ('"x"', "',' is expected, not the end of the file"),
        ("", "Expecting value"),
        ('"x"] "lost"', "text after the end of the list"),
        ("]", "Expecting value"),
        ("[" * 100_000, "recursion"),
    ],
)
@pytest.mark.parametrize("chunk", [5, 4_000_000])
def test_broken_list_is_read_up_to_its_fault(
    read: Callable, set_limits: Callable, rest: str, detail: str, chunk: int
) -> None:
    set_limits(chunk=chunk, longest=200_000)
    reading = read("a.json", f'["good", {{"content": "too"}}, {rest}'.encode())
    assert reading.texts[:2] == ["good", "too"] and "lost" not in reading.texts
    (fault,) = reading.aside
    assert fault.reason == "bad JSON" and fault.line == len(reading.texts) + 1
    assert any(part in fault.detail for part in detail.split("|"))


def test_elements_of_a_list_have_the_longest_size_too(read: Callable, set_limits: Callable) -> None:
    set_limits(longest=100, chunk=64)
    reading = read("a.json", json.dumps(["a", "x" * 110, "b", "y" * 98]).encode())
    assert reading.documents == [(1, "a"), (3, "b"), (4, "y" * 98)]
    assert reading.faults == [(2, "too long", 112)]


def test_long_list_is_handed_on_in_blocks(read: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 10_000)
    reading = read("a.json", json.dumps(["字" * 30] * 1000, ensure_ascii=False).encode())
    assert len(reading.texts) == 1000 and 9 <= reading.blocks <= 11


@pytest.mark.parametrize("data", [b"", b"\n", b"[]", b" [ ] \n", b"\xef\xbb\xbf[\n]"])
def test_empty_json_holds_nothing(read: Callable, data: bytes) -> None:
    reading = read("a.json", data)
    assert not reading.documents and not reading.aside


def test_json_file_may_hold_lines(read: Callable) -> None:
    assert read("a.json", b'{"content": "a"}\n{"content": "b"}\n').documents == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("data", ['{"contents": "x"}\n{"id": 1}', '[{"id": 1}, {"contents": ""}]'])
def test_key_that_no_object_has_is_refused(read: Callable, data: str) -> None:
    with pytest.raises(UserError, match=r"no key 'content'.*--content-column contents"):
        read("a.json", data.encode())
    assert read("a.json", data.encode(), content_column="contents").texts
