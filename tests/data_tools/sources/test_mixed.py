"""Rows of two encodings in one file: each is read in its own, and no garbage is kept."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest

from data_tools.sources import mixed
from data_tools.sources.mixed import Gb18030Lines, convert_record, read_doubtful, reads_as_big5

ROWS = [
    "老张坐在门前喝茶，孩子们在院子里跑来跑去。",
    "他把钥匙放在桌上，转身走了",
    "This is English.",
    "秦川雄帝宅，函谷壯皇居。",
    "",
    "第3章 “再会”——2020年",
    "好的好的，没问题！",
]


class Trickle(io.RawIOBase):
    """A stream that returns a random number of bytes at a time."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._inner = io.BytesIO(data)
        self._random = random.Random(seed)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(self._random.randint(1, max(1, size // 100)))


def convert(data: bytes, seed: int = -1) -> bytes:
    stream = Gb18030Lines(io.BytesIO(data) if seed < 0 else Trickle(data, seed), size=1000)
    parts = []
    while part := stream.read(700):
        parts.append(part)
    return b"".join(parts)


def joined(rows: list[str], encodings: list[str]) -> bytes:
    pairs = zip(rows, encodings, strict=True)
    return b"".join(f"{row}\n".encode(encoding) for row, encoding in pairs)


def test_each_line_is_read_in_its_own_encoding() -> None:
    for seed in range(20):
        generator = random.Random(seed)
        rows = generator.choices(ROWS, k=300)
        encodings = generator.choices(["gb18030", "utf-8"], k=300)
        data = joined(rows, encodings)
        assert convert(data).decode() == "".join(f"{row}\n" for row in rows)


def test_the_result_does_not_depend_on_how_much_a_read_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mixed, "LONG_LINE", 300)
    generator = random.Random(1)
    pieces = [row.encode(code) for row in ROWS for code in ("gb18030", "utf-8")]
    pieces += [ROWS[3].encode("big5")]
    pieces += [b"\n", b"\xff", b"\x81", "\u00a0".encode("gb18030"), b"\r\n", "😀".encode("gb18030")]
    for seed in range(30):
        data = b"".join(generator.choices(pieces, k=generator.choice([5, 200])))
        wanted = convert(data)
        assert all(convert(data, seed=10 * seed + part) == wanted for part in range(4))
        assert wanted.count(b"\n") == data.count(b"\n")


@pytest.mark.parametrize("row", ["utf-8", "big5", "cp1252"])
def test_a_row_that_is_not_gb18030_is_set_aside_not_garbled(read: Callable, row: str) -> None:
    text = "Les élèves étaient très gênés" if row == "cp1252" else "秦川雄帝宅，函谷壯皇居。"
    raw = text.encode(row)
    raw = raw[:4] + b"\xff" + raw[4:] if row == "utf-8" else raw
    good = "\n".join(["老张坐在门前喝茶，孩子们在院子里跑来跑去。"] * 20)
    data = f"content\n{good}\n".encode("gb18030") + raw + b"\n"
    reading = read("a.csv", data)
    assert reading.texts == good.split("\n") and len(reading.faults) == 1
    assert reading.faults[0][:2] == (22, "maybe Big5" if row == "big5" else "bad encoding")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("few", ["utf-8", "gb18030"])
def test_a_file_with_rows_of_two_encodings_is_read_whole(
    read: Callable, name: str, few: str
) -> None:
    rows = [row for row in ROWS if row and "，" in row]
    many = "gb18030" if few == "utf-8" else "utf-8"
    texts = [f"{number} {row}" for number in range(30) for row in rows]
    encodings = [few if number % 5 == 0 else many for number in range(len(texts))]
    lines = [f'{{"content": "{text}"}}' if name == "a.jsonl" else text for text in texts]
    data = (b"content\n" if name == "a.csv" else b"") + joined(lines, encodings)
    reading = read(name, data, text_documents="line")
    assert reading.texts == texts and not reading.aside


def test_the_encoding_that_the_user_named_is_not_doubted(read: Callable) -> None:
    data = "content\n好的，没问题。\n".encode() + "好的，没问题。\n谢谢\n".encode("gb18030")
    reading = read("a.csv", data, encoding="utf-8")
    assert reading.texts == ["好的，没问题。", "лл"]
    assert reading.faults == [(3, "bad UTF-8", 15)]


def test_rows_of_utf8_do_not_become_garbage_when_the_user_named_gb18030(read: Callable) -> None:
    rows = ["好的，没问题。", "谢谢", "你好世界，今天天气很好。"]
    data = joined(["content", *rows], ["utf-8", "gb18030", "gb18030", "utf-8"])
    reading = read("a.csv", data, encoding="gb18030")
    assert reading.texts == rows and not reading.aside


def test_what_may_be_two_texts_is_set_aside_with_both(read: Callable) -> None:
    for name in ("a.csv", "a.jsonl"):
        rows = ["好的，没问题。", "谢谢", "Café"]
        codes = ["utf-8", "gb18030", "utf-8"]
        lines = [f'{{"content": "{row}"}}' for row in rows] if name == "a.jsonl" else rows
        head = b"content\n" if name == "a.csv" else b""
        reading = read(name, head + joined(lines, codes))
        assert reading.texts == ["好的，没问题。", "Café"]
        assert [fault.reason for fault in reading.aside] == ["unclear encoding"]
        detail = reading.aside[0].detail
        assert "лл" in detail and "谢谢" in detail


def test_a_broken_character_does_not_swallow_the_line_end() -> None:
    assert convert(b"a\x81\x30\nb\n") == b"a\xff0\nb\n"


def test_a_record_is_converted_only_on_clear_evidence() -> None:
    assert convert_record("好的，没问题。".encode("gb18030")) == "好的，没问题。".encode()
    assert convert_record("好".encode("gb18030")) is None  # may be a cut-off character
    assert convert_record("好的，没问题。".encode()[:-1]) is None
    assert convert_record("秦川雄帝宅，函谷壯皇居。".encode("big5")) is None
    assert convert_record("Les élèves étaient très gênés".encode("latin-1")) is None
    assert convert_record(b"\xff\xff") is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_each_line_of_a_record_is_converted_by_itself(line_end: bytes) -> None:
    here, there = "你好世界", "夜来风雨声，花落知多少。"
    assert here.encode().decode("gb18030")  # it would become garbage without a word
    lines = [here.encode(), *[there.encode("gb18030")] * 10, b"", "谢谢".encode("gb18030"), b"end"]
    texts = [here, *[there] * 10, "", "谢谢", "end"]
    assert convert_record(line_end.join(lines)) == line_end.join(one.encode() for one in texts)
    bad = [*lines, "秦川雄帝宅，函谷壯皇居。".encode()[:-1]]
    assert convert_record(line_end.join(bad)) is None


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.json"])
def test_a_record_of_lines_in_two_encodings_keeps_what_is_valid(read: Callable, name: str) -> None:
    here, there = "你好世界", "夜来风雨声，花落知多少。"
    rows = ["今天的天气非常好，我们一起去公园散步。"] * 40
    mixed_row = [f"{here}\n".encode(), *[f"{there}\n".encode("gb18030")] * 10]
    if name == "a.json":
        items = [f'{{"content": "{row}"}},\n'.encode() for row in rows]
        last = ['{"content": "山水",\n"a": "', here, '",\n"b": "', there, '"}\n]']
        codes = ["utf-8"] * 3 + ["gb18030"] * 2
        data = b"[" + b"".join(items) + b"".join(map(str.encode, last, codes))
        assert read(name, data).texts == [*rows, "山水"]
        return
    if name == "a.csv":
        data = "\n".join(["content", *rows, '"']).encode() + b"".join(mixed_row) + b'"\n'
    else:
        data = "\n\n".join([*rows, ""]).encode() + b"".join(mixed_row)
    reading = read(name, data, text_documents="block")
    assert not reading.aside and reading.texts[:-1] == rows
    assert reading.texts[-1].strip() == "\n".join([here, *[there] * 10])


def test_big5_is_recognised() -> None:
    assert reads_as_big5("秦川雄帝宅，函谷壯皇居。".encode("big5"))
    assert not reads_as_big5("好的，没问题。".encode()[:-1])


def test_doubt_needs_a_likelier_reading() -> None:
    assert read_doubtful("лл".encode()) == "谢谢"
    assert not any(read_doubtful(text.encode()) for text in ("Café", "Привет", "лл好", "ll"))
