"""The delimiter of a CSV file: the one that gives the wanted column, and files read with it."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from data_tools.sources.delimiter import (
    NAMES,
    canonical,
    detect_delimiter,
    exchange,
    parse_delimiter,
)
from gpt2zh.config.errors import UserError

from .conftest import Read


def detect(text: str, *, usual: str = ",", column: str = "content", is_whole: bool = True) -> str:
    return detect_delimiter(text.encode(), column, usual=usual, is_whole=is_whole)


@pytest.mark.parametrize("sign", NAMES)
@pytest.mark.parametrize("end", ["", "\n", "\n1{0}一，二{0}三,四\n"])
def test_the_delimiter_that_gives_the_column_is_taken(sign: str, end: str) -> None:
    assert detect(f"\ufeffid{sign}title{sign}content" + end.format(sign)) == sign
    assert detect(f'"id"{sign}"content\u200b"{end.format(sign)}') == sign


@pytest.mark.parametrize(
    ("text", "usual", "sign"),
    [
        ("content\na\tb;c|d\n", ",", ","),
        ("id,content\n1\t2;3\n", "\t", ","),
        ("id\tcontent\n1,2\t3\n", "\t", "\t"),
        ("title;text\n一,二;三\n", ",", ";"),
        ("title\ttext;more\n1\t2\n", ",", "\t"),
        ("title,text;more\n1;2\n", ",", ";"),
        ("title,text;more\n1,2;3\n", ",", ","),
        ("title\n1\n", ",", ","),
        ("", ",", ","),
        ('"broken', ",", ","),
    ],
)
def test_otherwise_what_fits_the_rows_is_taken(text: str, usual: str, sign: str) -> None:
    assert detect(text, usual=usual) == sign


def test_a_header_that_is_cut_off_is_not_judged() -> None:
    assert detect("id\tcontent", is_whole=False) == ","


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("tab", "\t"),
        ("\\t", "\t"),
        ("\t", "\t"),
        ("comma", ","),
        (";", ";"),
        (":", ":"),
        ("\1", "\1"),
    ],
)
def test_a_delimiter_may_be_typed_in_several_ways(text: str, sign: str) -> None:
    assert parse_delimiter(text) == sign
    assert canonical(text) == NAMES.get(sign, sign)
    assert canonical("auto") == "auto"


@pytest.mark.parametrize("text", ["", "ab", "，", '"', "\n", "\0"])
def test_what_cannot_be_a_delimiter_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--delimiter .* is not a valid delimiter; use auto"):
        parse_delimiter(text)


def test_exchanging_twice_gives_the_same_bytes() -> None:
    data = np.arange(256, dtype=np.uint8)
    assert exchange(data, ",") is data
    once = exchange(data, "\t")
    assert (once[44], once[9]) == (9, 44) and (exchange(once, "\t") == data).all()


@pytest.mark.parametrize("sign", ["\t", ";", "|", ":"])
@pytest.mark.parametrize("chunk", [1, 7, 4_000_000])
def test_a_file_is_read_as_the_same_file_with_commas(
    read: Read, set_limits: Callable, sign: str, chunk: int
) -> None:
    set_limits(chunk=chunk, longest=60)
    generator = random.Random(f"{sign} {chunk}")
    swap = str.maketrans({",": sign, sign: ","})
    for _ in range(30):
        body = "".join(generator.choices(["a", "字", ",", sign, "\n", '"', '""'], k=90))
        size = generator.choice([0, 20])
        plain = read("a.csv", f"id,content\n{body}".encode(), size=size, delimiter=",")
        text = f"id,content\n{body}".translate(swap)
        other = read("b.csv", text.encode(), size=size, delimiter=sign)
        assert other.documents == [(line, text.translate(swap)) for line, text in plain.documents]
        assert other.sizes == plain.sizes and other.faults == plain.faults
        excerpts = [fault.excerpt.translate(swap) for fault in plain.aside]
        assert [fault.excerpt for fault in other.aside] == excerpts


def test_detection_is_the_default_and_the_option_wins(read: Read) -> None:
    data = "id\tcontent\n1\t一,二\n".encode()
    assert read("a.csv", data).texts == ["一,二"]
    assert read("a.tsv", data).texts == ["一,二"]
    with pytest.raises(UserError, match=r"several, separated by tab\); use --delimiter tab$"):
        read("a.csv", data, delimiter="comma")
    assert read("a.tsv", "content\n一\t二\n".encode(), delimiter="comma").texts == ["一\t二"]


def test_the_columns_of_a_header_that_lacks_the_wanted_one_are_shown_split(read: Read) -> None:
    with pytest.raises(UserError, match=r"its columns are: id, title \(separated by semicolon\)"):
        read("a.csv", b"id;title\n1;2\n")
    with pytest.raises(UserError, match=r"by '，', which is text here\); separate .* as well$"):
        read("a.csv", "id，title\n".encode())


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("line", "sign"), [("sep=;\n", ";"), ('"sep=\t"\r\n', "\t"), ("SEP=,\n", ",")]
)
def test_the_line_that_tells_excel_the_delimiter_is_followed(
    read: Read, mark: str, line: str, sign: str
) -> None:
    text = mark + line + f"id{sign}content\n1{sign}一\n2{sign}二\n"
    for size in (0, 1):
        reading = read("a.csv", text.encode(), size=size)
        assert reading.documents == [(3, "一"), (4, "二")]
