"""Text files: a document is the file, a line, or what stands between blank lines."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

PIECES = ["a", "字\u3000", "\n", "\r\n", "\r", " \t\n", "\u3000\n", "x" * 50, "\u3001"]


def texts(seed: int) -> str:
    generator = random.Random(seed)
    return generator.choice(["", "\ufeff"]) + "".join(generator.choices(PIECES, k=150))


def model(text: str, unit: str, longest: int) -> tuple[list, list]:
    """Documents (line, text) and what is too long (line, size), by regular expressions."""
    lines = [
        (number, match[1], match[0])
        for number, match in enumerate(re.finditer(r"([^\r\n]*)(\r\n|\r|\n|$)", text), 1)
        if match[0]
    ]
    groups: list[list] = []
    was_blank = True
    for line in lines:
        is_blank = not line[1].strip(" \t\u3000")
        if not is_blank and (was_blank or unit == "line"):
            groups.append([])
        if not is_blank:
            groups[-1].append(line)
        was_blank = is_blank
    good, long = [], []
    for group in groups:
        raw = "".join(line[2] for line in group)
        content = raw[: -len(group[-1][2]) or None][: len(raw)]
        content = "".join(line[2] for line in group[:-1]) + group[-1][1]
        if len(content.encode()) > longest:
            long.append((group[0][0], "too long", len(raw.encode())))
        else:
            good.append((group[0][0], content))
    return good, long


@pytest.mark.parametrize("unit", ["line", "block"])
@pytest.mark.parametrize("chunk", [1, 10, 60, 4_000_000])
def test_lines_and_blocks_of_any_text(
    read: Callable, set_limits: Callable, unit: str, chunk: int
) -> None:
    set_limits(chunk=chunk, longest=60, documents=7 if chunk == 60 else 0)
    for seed in range(30):
        text = texts(seed)
        reading = read("a.txt", text.encode(), text_documents=unit)
        good, long = model(text.removeprefix("\ufeff"), unit, 60)
        assert reading.documents == good, seed
        assert reading.faults == long, seed


@pytest.mark.parametrize("chunk", [60, 61, 62])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_longest_line_fits_wherever_the_buffer_ends(
    read: Callable, set_limits: Callable, chunk: int, line_end: str
) -> None:
    set_limits(chunk=chunk, longest=60)
    data = ("x" * 60 + line_end + "y" * 61 + line_end + "z").encode()
    reading = read("a.txt", data, text_documents="line")
    assert reading.documents == [(1, "x" * 60), (3, "z")]
    assert reading.faults == [(2, "too long", 61 + len(line_end))]


def test_file_is_one_document_with_its_line_breaks(read: Callable) -> None:
    reading = read("a.txt", "\ufeff一\r\n\n二\n".encode())
    assert reading.documents == [(1, "一\r\n\n二\n")] and reading.overhead == 3


@pytest.mark.parametrize("unit", ["file", "line", "block"])
def test_empty_file_holds_no_document(read: Callable, unit: str) -> None:
    assert read("a.txt", b"", text_documents=unit).documents == []


def test_file_too_long_for_a_document_names_the_cure(read: Callable, set_limits: Callable) -> None:
    set_limits(longest=1000, chunk=300)
    assert read("a.txt", b"x" * 1000).texts == ["x" * 1000]
    reading = read("a.txt", b"\n" + b"x" * 5000)
    assert reading.faults == [(1, "too long", 5001)]
    assert "--text-documents line or block" in reading.aside[0].detail


@pytest.mark.parametrize("chunk", [1, 4_000_000])
def test_bad_bytes_cost_their_line_or_block(
    read: Callable, set_limits: Callable, chunk: int
) -> None:
    set_limits(chunk=chunk)
    data = "好\n坏\n\n好的\n".encode().replace("坏".encode(), b"x\xff\0")
    reading = read("a.txt", data, text_documents="line", encoding="utf-8")
    assert reading.documents == [(1, "好"), (4, "好的")]
    assert reading.faults == [(2, "bad UTF-8", 4)]
    reading = read("a.txt", data, text_documents="block", encoding="utf-8")
    assert reading.documents == [(4, "好的")]
    assert reading.faults == [(1, "bad UTF-8", 8)]
    assert read("a.txt", data, encoding="utf-8").faults == [(1, "bad UTF-8", len(data))]
    assert read("a.txt", b"a\0b, and more").aside[0].detail == "at character 1"


def test_character_cut_off_at_the_end_is_found(read: Callable) -> None:
    data = "好\n好".encode()[:-1]
    reading = read("a.txt", data, text_documents="line", encoding="utf-8")
    assert reading.texts == ["好"] and reading.faults == [(2, "bad UTF-8", 2)]
