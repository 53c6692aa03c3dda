"""Slices read one after the other give what the whole file gives, wherever it was cut."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.sources.cut import cut
from data_tools.sources.find import inspect
from data_tools.sources.options import InputConfig
from data_tools.sources.source import Slice

CSV_PIECES = ['1,"a""b\nc"\n', "2,字\n", '3,"open\n', '4,"x"y\r\n', "5\n", "\n", '6,"\n",\n']
CSV_PIECES += ['"",","\n', '7""",x,"\n', "8,\xff\r", '"9,\r\n"\r\n', "10," + "z" * 360 + "\n"]


def csv_file(seed: int) -> bytes:
    generator = random.Random(seed)
    rows = generator.choices(CSV_PIECES, k=120)
    mark = generator.choice(["", "\ufeff"])
    return (mark + '\nid,"content"\n' + "".join(rows)).encode("latin-1", "xmlcharrefreplace") \
        if not mark else (mark + "id,content\r\n" + "".join(rows)).encode()  # fmt: skip


def text_file(seed: int) -> bytes:
    generator = random.Random(seed)
    pieces = ["a", "字", "\n", "\n\n", "\r\n", "\r", " \n", "\u3000\n", "x" * 370 + "\n"]
    return "".join(generator.choices(pieces, k=200)).encode()


def json_file(seed: int) -> bytes:
    generator = random.Random(seed)
    lines = ['{"content": "a\\n"}', '"字"', "", "{", "null", '{"id": 1}', '["x"]', '"\\ud800"']
    return "\r\n".join(['{"content": ""}', *generator.choices(lines, k=100)]).encode()


def same(read: Callable, name: str, data: bytes, set_limits: Callable, **options: str) -> int:
    """Compare slices of many sizes with the whole; return the most slices."""
    set_limits(longest=340)
    whole = read(name, data, **options)
    most = 0
    for size in (1, 10, 100, len(data) // 2):
        for chunk in (3, 4_000_000):
            set_limits(chunk=chunk)
            sliced = read(name, data, size=size, **options)
            assert sliced.documents == whole.documents
            assert sliced.sizes == whole.sizes
            assert sliced.aside == whole.aside
            assert sliced.overhead == whole.overhead
        most = max(most, sliced.blocks)
    return most


@pytest.mark.parametrize("seed", range(12))
def test_slices_of_a_csv_equal_the_whole_also_with_broken_quotes(
    read: Callable, set_limits: Callable, seed: int
) -> None:
    assert same(read, "a.csv", csv_file(seed), set_limits, encoding="utf-8") > 3


@pytest.mark.parametrize("unit", ["line", "block"])
@pytest.mark.parametrize("seed", range(4))
def test_slices_of_a_text_equal_the_whole(
    read: Callable, set_limits: Callable, seed: int, unit: str
) -> None:
    assert same(read, "a.txt", text_file(seed), set_limits, text_documents=unit) > 3


@pytest.mark.parametrize("seed", range(4))
def test_slices_of_json_lines_equal_the_whole(
    read: Callable, set_limits: Callable, seed: int
) -> None:
    assert same(read, "a.jsonl", json_file(seed), set_limits) > 3


def slices(path: Path, size: int, **options: str) -> list[Slice]:
    config = InputConfig(input=(), **options)
    return cut(inspect(path, config), config, size)


def test_slices_have_about_the_wanted_size_and_know_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,content\n" + b'1,"x\ny"\n' * 1000)
    parts = slices(path, 1000)
    assert all(1000 <= part.end - part.begin <= 1500 for part in parts)
    assert [part.line for part in parts] == [
        1 + path.read_bytes()[: part.begin].count(b"\n") for part in parts
    ]
    assert slices(path, 6000) == [Slice(0, 8011, 1)]


def test_no_cut_lies_where_an_unclosed_quote_was_still_looked_for(tmp_path: Path) -> None:
    """The verdict on line 2 depends on all that is behind it."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,content\n" + b'1,"open\n' + b"2,x\n" * 1000)
    assert len(slices(path, 100)) == 1
    path.write_bytes(b"id,content\n" + b'1,"open\n' + b"2,x\n" * 500 + b'2,"x"\n' + b"3,x\n" * 500)
    assert slices(path, 100)[0].end >= 18 + 2000


@pytest.mark.parametrize("name", ["a.csv.gz", "a.json", "a.txt", "a.csv"])
def test_what_cannot_be_cut_is_one_slice(tmp_path: Path, name: str) -> None:
    import gzip

    content = {
        "a.csv.gz": gzip.compress(b"content\n" + b"x\n" * 999),
        "a.json": json.dumps(["x"] * 999).encode(),
        "a.txt": b"x\n" * 999,
        "a.csv": ("content\n" + "字\n" * 999).encode("gb18030"),
    }
    path = tmp_path / name
    path.write_bytes(content[name])
    assert slices(path, 10) == [Slice(0, len(content[name]), 1)]
