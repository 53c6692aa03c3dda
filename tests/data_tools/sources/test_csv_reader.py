"""CSV as it comes: what `csv.reader` reads is read, what is broken is set aside with its place."""

from __future__ import annotations

import csv
import io
import random
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_tools.sources.find import inspect
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader
from data_tools.sources.source import Slice

Read = Callable
LONGEST = 400

TABLES = (
    # what a file may be made of, and how likely
    ("plain", ["a", "b", "字", "\U0001f600", ",", "\n"], [5, 5, 5, 1, 3, 2]),
    ("quotes", ['"', '""', ",", "\n", "x", "字"], [4, 2, 3, 3, 3, 2]),
    ("quoted", ['"', ',"', '",', '"\n"', "\n", "x", '""'], [2, 4, 4, 2, 2, 4, 2]),
    ("ends", ["\r", "\n", "\r\n", '"', ",", "x", "é"], [2, 2, 2, 3, 4, 4, 1]),
    (
        "rows",
        ['a,"b"\n', 'c,"d\ne"\n', '"f,\n', "g,h\r\n", 'i"""j,k,"\n', "\n"],
        [4, 4, 1, 4, 1, 1],
    ),
)


def lines_of(text: str) -> list[str]:
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def model(text: str, width: int, column: int) -> Iterator[tuple]:
    """The rules once more, by csv.reader and slowly: (line, text or None, reason, size)."""
    lines = lines_of(text)
    at = 1  # behind the header
    while at < len(lines):
        taken = 0

        def feed() -> Iterator[str]:
            nonlocal taken
            for line in lines[at:]:  # noqa: B023
                taken += 1
                yield line

        first = len(lines[at].encode())
        try:
            row = next(csv.reader(feed(), strict=True))
            content = "".join(lines[at : at + taken]).rstrip("\r\n").encode()
            fault = "ragged row" if row and len(row) != width else ""
            if taken > 1 and (fault or len(content) > LONGEST):
                fault = "unclosed quote"
        except csv.Error as error:
            open_quote = taken > 1 or "end of data" in str(error)
            row, fault = [], "unclosed quote" if open_quote else "broken quoting"
        if len(lines[at].rstrip("\r\n").encode()) > LONGEST:
            fault = "too long"
        if fault:
            yield at + 1, None, fault, first
            at += 1
            continue
        size = len("".join(lines[at : at + taken]).encode())
        if row:
            yield at + 1, row[column], "", size
        at += taken


def flat(reading: object) -> list[tuple]:
    """A reading in the form of the model."""
    documents = [
        (line, text, "", size)
        for (line, text), size in zip(reading.documents, reading.sizes, strict=True)
    ]
    aside = [(line, None, reason, size) for line, reason, size in reading.faults]
    return sorted(documents + aside, key=lambda item: item[0])


@pytest.mark.parametrize(("name", "pieces", "weights"), TABLES, ids=[t[0] for t in TABLES])
@pytest.mark.parametrize("chunk", [1, 7, 64, 4_000_000])
def test_any_text_is_read_by_the_rules(
    read: Read, set_limits: Callable, name: str, pieces: list, weights: list, chunk: int
) -> None:
    set_limits(chunk=chunk, longest=LONGEST, documents=5 if chunk == 7 else 0)
    for seed in range(60):
        generator = random.Random(f"{name} {seed}")
        body = "".join(generator.choices(pieces, weights, k=generator.choice([10, 100, 400])))
        header = generator.choice(["content,id", "id,content", "content"])
        text = header + generator.choice(["\n", "\r\n", "\r"]) + body
        if text.split("\r")[0] == header and body.startswith("\n"):
            text = header + "\n" + body
        names = header.split(",")
        wanted = list(model(text, len(names), names.index("content")))
        reading = read("a.csv", text.encode())
        assert flat(reading) == wanted, seed


def quoted(text: str, generator: random.Random, line_end: str) -> str:
    needs = any(sign in text for sign in '",\r\n') or not text
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if needs or generator.random() < 0.5 else text


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [1, 3, 50, 4_000_000])
def test_valid_tables_equal_those_of_the_csv_module(
    read: Read, set_limits: Callable, line_end: str, chunk: int
) -> None:
    set_limits(chunk=chunk)
    generator = random.Random(f"{line_end!r} {chunk}")
    signs = [*'",\r\n"",', "\r\n", "a", "字", "\u3000", "\U00020000", " ", "\\", "'", "\ufeff"]
    rows = [["".join(generator.choices(signs, k=generator.randrange(30))) for _ in range(4)]
            for _ in range(300)]  # fmt: skip
    table = [["id", "content", "x,y", 'z"\n'], *rows]
    text = "".join(
        ",".join(quoted(field, generator, line_end) for field in row) + line_end for row in table
    )
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == table
    mark = generator.choice(["", "\ufeff"])
    reading = read("a.csv", (mark + text).encode())
    assert reading.texts == [row[1] for row in rows]
    assert not reading.aside
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    starts = [1 + reader.line_num for _ in reader]
    assert [line for line, _ in reading.documents] == starts[:-1]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_header_mark_and_blank_lines_are_overhead(read: Read, line_end: str, mark: bytes) -> None:
    text = '\ncontent,id\n"一,""二""",1\n\n三,2\n\n'.replace("\n", line_end)
    reading = read("a.csv", mark + text.encode())
    assert reading.documents == [(3, '一,"二"'), (5, "三")]
    assert reading.overhead == len(mark) + len("content,id") + 4 * len(line_end)


@pytest.mark.parametrize("data", [b"", b"content\n", b"\n\n", b"\xef\xbb\xbf", b"\r\n\r"])
def test_files_without_records_hold_nothing(read: Read, data: bytes) -> None:
    reading = read("a.csv", data)
    assert not reading.documents and not reading.aside and reading.overhead == len(data)


def test_a_row_of_one_field_is_counted_as_one(read: Read) -> None:
    (fault,) = read("a.csv", "content,id\n好,0\n坏\n".encode()).aside
    assert fault.detail == "1 field where the header has 2"


@pytest.mark.parametrize(
    ("data", "reason", "detail", "excerpt"),
    [
        (b"\xd6\xd0\xce\xc4", "bad UTF-8", "byte 0xD6 at character 0", "\\xd6\\xd0"),
        (b"ab\xe4\xb8", "bad UTF-8", "byte 0xE4 at character 2", "ab\\xe4"),
        (b'"a""\xed\xa0\x80b"', "bad UTF-8", "byte 0xED at character 2", 'a"\\xed'),
        (b"ab\x00cd", "NUL character", "at character 2", "ab\x00cd"),
        (b"a,b,c", "ragged row", "4 fields where the header has 2", "a,b,c"),
        (b'"a"b', "broken quoting", "expected after", '"a"b'),
        (b'"never closed', "unclosed quote", "end of the file", '"never closed'),
    ],
)
def test_broken_row_is_set_aside_and_the_others_are_read(
    read: Read, data: bytes, reason: str, detail: str, excerpt: str
) -> None:
    table = b"content,id\n" + "好,0\n".encode() * 9 + data + b",1\n" + "坏,2\n".encode() * 9
    reading = read("a.csv", table, encoding="utf-8")
    assert reading.texts == ["好"] * 9 + ["坏"] * 9
    (fault,) = reading.aside
    assert (fault.line, fault.reason, fault.size) == (11, reason, len(data) + 3)
    assert detail in fault.detail and excerpt in fault.excerpt


@pytest.mark.parametrize("end", ["中".encode(), "中".encode()[:2], b"\xe4", b"a\xf0\x9f"])
def test_a_file_that_ends_amid_a_character_is_no_exception(read: Read, end: bytes) -> None:
    reading = read("a.csv", "content\n好\n".encode() + end, encoding="utf-8")
    if end == "中".encode():
        assert reading.texts == ["好", "中"] and not reading.aside
    else:
        assert reading.texts == ["好"]
        assert [(fault.line, fault.reason) for fault in reading.aside] == [(3, "bad UTF-8")]
    other = read("b.csv", "content,id\n好,".encode() + end, encoding="utf-8")
    assert other.texts == ["好"] and not other.aside


def test_other_columns_may_hold_anything(read: Read) -> None:
    reading = read("a.csv", b"id,content\n\xff\x00,good\n\xe4,too\n", encoding="utf-8")
    assert reading.documents == [(2, "good"), (3, "too")]


def test_bad_text_costs_its_record_only_with_all_its_lines(read: Read) -> None:
    data = b'id,content\n1,"a\n\xff\nb"\n2,"c\nd"\n'
    reading = read("a.csv", data, encoding="utf-8")
    assert reading.documents == [(5, "c\nd")]
    assert reading.faults == [(2, "bad UTF-8", len(b'1,"a\n\xff\nb"\n'))]


@pytest.mark.parametrize(
    ("rows", "detail", "texts"),
    [
        (['2,"第二行"', '3,"第三\n行"'], "text after a quote", ["第二行", "第三\n行"]),
        (["2,第二行", "3,第三行"], "end of the file", ["第二行", "第三行"]),
    ],
)
def test_unclosed_quote_costs_one_line(
    read: Read, rows: list[str], detail: str, texts: list[str]
) -> None:
    first = '1,"开了没有关'
    reading = read("a.csv", "\n".join(["id,content", first, *rows, ""]).encode())
    fault = reading.aside[0]
    assert (fault.line, fault.reason) == (2, "unclosed quote")
    assert fault.size == len(first.encode()) + 1
    assert detail in fault.detail and fault.excerpt.startswith(first)
    assert reading.texts == texts and len(reading.aside) == 1


def test_row_of_several_lines_with_another_number_of_fields_has_an_unclosed_quote(
    read: Read,
) -> None:
    reading = read("a.csv", 'id,content,x\n1,"开了,x\n2,"\n第三行",3\n'.encode())
    assert reading.faults == [(2, "unclosed quote", len('1,"开了,x\n'.encode()))]
    assert "makes 2 fields where the header has 3" in reading.aside[0].detail
    assert reading.documents == [(3, "\n第三行")]


def test_unclosed_quote_is_given_up_after_the_longest_record(
    read: Read, set_limits: Callable
) -> None:
    set_limits(longest=1000, chunk=700)
    lines = ["id,content", '1,"开了没有关', *(f"{i},第{i}行" for i in range(2, 3000))]
    reading = read("a.csv", "\n".join(lines).encode())
    assert reading.faults == [(2, "unclosed quote", len(lines[1].encode()) + 1)]
    assert "still open after 1000 bytes" in reading.aside[0].detail
    assert len(reading.texts) == 2998


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [1, 300, 1003, 1004, 1005])
def test_line_that_is_itself_too_long_is_skipped_whole(
    read: Read, set_limits: Callable, line_end: str, chunk: int
) -> None:
    set_limits(longest=1000, chunk=chunk)
    fits, beyond = "x" * 998, "y" * 999
    lines = [
        "id,content",
        "1," + "长" * 5500,
        "2,好",
        f"3,{fits}",
        f"4,{beyond}",
        '5,"' + "z" * 999,
    ]
    lines += [f'6,"{fits[2:]}"', f'7,"{fits[2:]}y"']
    reading = read("a.csv", line_end.join([*lines, "8,好"]).encode())
    assert reading.documents == [(3, "好"), (4, fits), (7, fits[2:]), (9, "好")]
    assert [fault[:2] for fault in reading.faults] == [(n, "too long") for n in (2, 5, 6, 8)]
    assert reading.faults[0][2] == len(lines[1].encode()) + len(line_end)


@pytest.mark.slow
def test_record_of_20_mb_is_set_aside_in_bounded_memory(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.write(b"content\nfirst\n")
        for _ in range(20):
            file.write(b"x" * 1_000_000)
        file.write(b'\nlast\n"' + b"y" * 12_000_000 + b'\n"\n')
    config = InputConfig(input=())
    source = inspect(path, config)
    tracemalloc.start()
    reader = SliceReader(source, Slice(0, source.bytes, 1), config)
    documents = sum(len(block) for block in reader)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert documents == 3 and peak < 50_000_000
    reading = read("", path)
    assert reading.faults == [(3, "too long", 20_000_001)]
    assert [len(text) for text in reading.texts] == [5, 4, 12_000_001]


@pytest.mark.slow
def test_work_stays_linear_where_every_line_opens_a_quote(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these lines could swallow all that follow; only the number of fields stops it."""
    table = b"a,content,c\n" + b'a""",x,"\n' * 50_000
    begun = time.process_time()  # other programs do not lengthen it
    reading = read("a.csv", table)
    assert time.process_time() - begun < 5
    assert {fault.reason for fault in reading.aside} == {"unclosed quote"}
