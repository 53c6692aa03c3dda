"""Text files: a document is the file, a line, or what stands between blank lines."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable

import pytest

PIECES = ["a", "字\u3000", "\n", "\r\n", "\r", " \t\n", "\u3000\n", "x" * 50, "\u3001"]


def texts(seed: int) -> str:
    generator = random.Random(seed)
    return generator.choice(["", "\ufeff"]) + "".join(generator.choices(PIECES, k=150))


def model(text: str, unit: str, longest: int) -> tuple[list, list]:
    """Documents (line, text) and what is too long (line, size), by regular expressions.

    The lines of a block that is too long are documents.
    """
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
        content = "".join(line[2] for line in group[:-1]) + group[-1][1]
        is_long = len(content.encode()) > longest
        for part in [[line] for line in group] if is_long else [group]:
            text = "".join(line[2] for line in part[:-1]) + part[-1][1]
            if len(text.encode()) > longest:
                long.append(
                    (part[0][0], "too long", len("".join(line[2] for line in part).encode()))
                )
            else:
                good.append((part[0][0], re.sub("\r\n|\r", "\n", text)))
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
    reading = read("a.txt", "\ufeff一\r\n\n二\r三\n".encode())
    assert reading.documents == [(1, "一\n\n二\n三\n")] and reading.overhead == 3
    assert reading.sizes == [len("一\r\n\n二\r三\n".encode())]


@pytest.mark.parametrize("unit", ["file", "line", "block"])
def test_empty_file_holds_no_document(read: Callable, unit: str) -> None:
    assert read("a.txt", b"", text_documents=unit).documents == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("chunk", [7, 1000, 4_000_000])
def test_file_too_long_for_a_document_is_read_as_blocks_or_lines(
    read: Callable, set_limits: Callable, suffix: str, chunk: int
) -> None:
    set_limits(longest=1000, chunk=chunk)
    pack = gzip.compress if suffix else bytes
    assert read("a.txt" + suffix, pack(b"x" * 1000)).texts == ["x" * 1000]
    rows = [f"{number} " + "字" * 30 for number in range(40)]
    reading = read("a.txt" + suffix, pack("\n".join(rows).encode()), size=1500)
    assert reading.texts == rows and not reading.aside
    blocks = ["\n".join(rows[at : at + 4]) for at in range(0, 40, 4)]
    reading = read("a.txt" + suffix, pack("\n\n".join(blocks).encode()), size=1500)
    assert reading.texts == blocks and not reading.aside
    one_is_long = [*blocks[:3], "\n".join(rows), *blocks[:1]]
    reading = read("a.txt" + suffix, pack("\n\n".join(one_is_long).encode()), size=1500)
    assert reading.texts == [*blocks[:3], *rows, *blocks[:1]] and not reading.aside
    reading = read("a.txt" + suffix, pack(b"\n" + b"x" * 5000 + b"\ny"))
    assert reading.faults == [(2, "too long", 5001)] and reading.texts == ["y"]


def test_one_bad_byte_of_a_novel_costs_its_line(read: Callable) -> None:
    lines = [f"第{number}回，雨下了一整夜。\n" for number in range(9)]
    for encoding in ("utf-8", "gb18030"):
        raw = [line.encode(encoding) for line in lines]
        raw[3] = raw[3][:7] + b"\xff" + raw[3][7:]
        raw[6] = lines[6].replace("，", "\0").encode(encoding)
        reading = read("a.txt", b"".join(raw))
        assert reading.documents == [
            (1, "".join(lines[:3])),
            (5, "".join(lines[4:6])),
            (8, "".join(lines[7:])),
        ]
        bad = "bad UTF-8" if encoding == "utf-8" else "bad encoding"
        assert [fault[:2] for fault in reading.faults] == [(4, bad), (7, "NUL character")]


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
    reading = read("a.txt", data, encoding="utf-8")
    assert reading.documents == [(1, "好\n"), (3, "\n好的\n")]
    assert reading.faults == [(2, "bad UTF-8", 4)]
    assert read("a.txt", b"a\0b, and more").aside[0].detail == "at character 1"


def test_character_cut_off_at_the_end_is_found(read: Callable) -> None:
    data = "好\n好".encode()[:-1]
    reading = read("a.txt", data, text_documents="line", encoding="utf-8")
    assert reading.texts == ["好"] and reading.faults == [(2, "bad UTF-8", 2)]


@pytest.mark.parametrize("unit", ["line", "block"])
def test_a_line_of_bad_bytes_is_set_aside_and_never_structure(read: Callable, unit: str) -> None:
    good = "一二三四"
    data = f"{good}\n\n".encode() * 5 + b"\xe3\x80\n\n\xe3\n\n" + good.encode()
    reading = read("a.txt", data, text_documents=unit)
    assert reading.texts == [good] * 6
    assert [(one.line, one.reason) for one in reading.aside] == [
        (11, "bad UTF-8"),
        (13, "bad UTF-8"),
    ]
