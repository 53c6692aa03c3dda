"""JSON as one list; its elements are objects with the key, or bare strings."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

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
    ("rest", "texts", "details"),
    [
        ('{"content": "x", "y" 1}, "c"]', ["c"], ["Expecting ':' delimiter at character 21"]),
        ('"never closed, "c"]', ["c"], ["',' is expected, not c"]),
        ('"x" "lost"]', [], ["',' is expected, not \"; no whole element follows"]),
        ('"x"', ["x"], ["the file ends before the list does"]),
        ("", [], ["the file ends before the list does"]),
        ('"x"] "lost"', ["x"], ["text after the end of the list; no whole element follows"]),
        ('"x"], "c"]', ["x", "c"], ["text after the end of the list"]),
        ("]", [], []),
        (',,"c",]', ["c"], []),
        ('["c", "d"]', ["c", "d"], ["a bracket that is never closed"]),
        ('// "not this",\n"c" /* or */]', [], ["a comment", "',' is expected, not /"]),
        ('// "not this",\n"c", /* "or", */ "d"]', ["c", "d"], ["a comment", "a comment"]),
        ('{"content": "c"} {"content": "d"}]', ["c", "d"], []),
        ('"c"]\n["d"]', ["c", "d"], []),
        ("[" * 3000, [], ["recursion"]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 5, 4_000_000])
def test_broken_element_loses_itself(
    read: Callable,
    set_limits: Callable,
    rest: str,
    texts: list[str],
    details: list[str],
    chunk: int,
) -> None:
    set_limits(chunk=chunk, longest=200_000)
    reading = read("a.json", f'["good", {{"content": "too"}}, {rest}'.encode())
    assert reading.texts == ["good", "too", *texts]
    assert all(fault.reason == "bad JSON" for fault in reading.aside)
    assert len(reading.aside) == len(details)
    assert all(part in fault.detail for part, fault in zip(details, reading.aside, strict=True))


PLANTED = {
    "bad escape": lambda raw: raw.replace('"', '"C:\\目录', 3).replace('"C:\\目录', '"', 2),
    "raw line break": lambda raw: raw[:-2] + "\n" + raw[-2:],
    "raw tab": lambda raw: raw[:-2] + "\t" + raw[-2:],
    "quote that is not closed": lambda raw: raw[:-2] + raw[-1:],
    "quotes inside a text": lambda raw: raw[:-2] + '说"你好"' + raw[-2:],
    "brace that is not closed": lambda raw: raw[:-1],
    "brace that is not opened": lambda raw: raw[1:],
    "single quotes": lambda raw: raw.replace('"', "'"),
    "key without quotes": lambda raw: raw.replace('"content"', "content"),
    "bracket in a wrong place": lambda raw: raw[:-1] + "]}",
    "no value": lambda raw: "undefined",
}
NASTY = ['他说"好"', "],[", '","', "}, {", '", "', "a,", "{}", "\\", "第三，[1, 2]", "// x", '"']


@pytest.mark.parametrize("between", [", ", ",", ",\n  "])
@pytest.mark.parametrize("place", [0, 5, len(NASTY) - 1])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_costs_one_element_whatever_the_others_hold(
    read: Callable, set_limits: Callable, fault: str, place: int, between: str
) -> None:
    raws = [json.dumps({"content": text}, ensure_ascii=place == 5) for text in NASTY]
    raws[place] = PLANTED[fault](json.dumps({"id": [1, 2], "content": "甲"}, ensure_ascii=False))
    data = f"[{between.strip(',')}{between.join(raws)}]".encode()
    readings = []
    for chunk in (4_000_000, 1, 13):
        set_limits(chunk=chunk)
        readings.append(read("a.json", data))
    assert readings[0].texts == NASTY[:place] + NASTY[place + 1 :]
    assert [other.texts for other in readings[1:]] == [readings[0].texts] * 2
    assert [other.aside for other in readings[1:]] == [readings[0].aside] * 2


def test_a_piece_of_a_broken_text_is_not_a_document(read: Callable) -> None:
    reading = read("a.json", '["好", "他说"你好", "再见", "走"了", "乙", "丙"]'.encode())
    assert reading.texts == ["好", "乙", "丙"] and len(reading.aside) == 1


def test_comments_below_a_broken_object_are_not_elements(read: Callable) -> None:
    bad = {"content": "X", "replies": [{"content": str(n)} for n in range(20)]}
    text = json.dumps([{"content": "a"}, bad, {"content": "b"}]).replace("X", "\\x")
    assert read("a.json", text.encode()).texts == ["a", "b"]


@pytest.mark.parametrize("chunk", [3, 4_000_000])
def test_a_list_under_a_key_is_read(read: Callable, set_limits: Callable, chunk: int) -> None:
    set_limits(chunk=chunk)
    table = {"version": "1.0", "data": [{"content": "a"}, {"content": "b"}], "total": 2}
    reading = read("a.json", json.dumps(table, indent=1).encode())
    assert reading.texts == ["a", "b"] and not reading.aside


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("chunk", [3, 4_000_000])
def test_objects_over_several_lines_are_read(
    read: Callable, set_limits: Callable, name: str, chunk: int
) -> None:
    set_limits(chunk=chunk)
    items = [json.dumps({"content": f"字{n}"}, indent=2, ensure_ascii=False) for n in range(6)]
    items[3] = items[3].replace("字3", "\\x")
    reading = read(name, "\n".join(items).encode())
    assert reading.texts == ["字0", "字1", "字2", "字4", "字5"]
    assert [fault.line for fault in reading.aside] == [4]


def test_a_list_called_jsonl_is_read(read: Callable) -> None:
    assert read("a.jsonl", b'[{"content": "a"}, {"content": "b"}]').texts == ["a", "b"]


def test_a_list_of_strings_in_the_place_of_a_text_is_named(read: Callable) -> None:
    reading = read("a.jsonl", b'{"content": ["a", "b"]}\n{"content": [{"role": 1}]}\n')
    assert [fault.detail for fault in reading.aside] == [
        "'content' is a list of 2 strings: a dialogue?",
        "'content' is a list of 1 object: a dialogue?",
    ]


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


def test_an_element_in_another_encoding_is_read_as_in_a_file_of_lines(read: Callable) -> None:
    texts = ["好的，没问题。", "这是一个测试的句子，应当保留。", "谢谢", *["再见，谢谢大家。"] * 9]
    codes = ["utf-8", "gb18030", "gb18030", *["utf-8"] * 9]
    rest = list(enumerate(texts[3:], 4))
    items = [f'{{"content": "{t}"}}'.encode(code) for t, code in zip(texts, codes, strict=True)]
    whole, lines = b"[" + b",".join(items) + b"]", b"\n".join(items)
    for name, data in (("a.json", whole), ("a.jsonl", lines)):
        reading = read(name, data)
        assert reading.documents == [(1, texts[0]), (2, texts[1]), *rest]
        assert [(one.line, one.reason) for one in reading.aside] == [(3, "unclear encoding")]
        strict = read(name, data, encoding="utf-8")
        assert strict.documents == [(1, texts[0]), (3, "лл"), *rest]
        assert [(one.line, one.reason) for one in strict.aside] == [(2, "bad UTF-8")]


def test_the_rest_of_a_damaged_list_is_one_record(read: Callable, tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("从前有座山里庙", k=300)) for _ in range(3000)]
    path = tmp_path / "a.json.gz"
    whole = gzip.compress(json.dumps([{"content": text} for text in texts]).encode())
    path.write_bytes(whole[: len(whole) * 2 // 3])
    reading = read("a.json.gz", path)
    assert 1000 < len(reading.texts) < 3000 and reading.texts == texts[: len(reading.texts)]
    assert [fault.reason for fault in reading.aside] == ["damaged file"]


def test_attempts_at_broken_elements_are_bounded(
    read: Callable, set_limits: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bound a file of 1 MB takes a minute."""
    attempts = []
    parse = json.JSONDecoder.raw_decode

    def counted(self: json.JSONDecoder, text: str, at: int = 0) -> object:
        attempts.append(at)
        return parse(self, text, at)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    set_limits(longest=100_000)
    reading = read("a.json", ('[{"content": "好"},' + '"\n,{' * 20_000).encode())
    assert reading.texts == ["好"] and len(attempts) < 10_000
