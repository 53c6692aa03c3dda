"""JSON as one list; its elements are objects with the key, or bare strings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from json_cases import FAULTS, VALUES, raw

from data_tools.sources import source


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
