"""What a JSON file holds, by its beginning."""

from __future__ import annotations

import pytest

from data_tools.sources.json_shape import find_json_format, find_prefix, make_tail


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        ("", "jsonl"),
        ('"a"\n"b"', "jsonl"),
        ('{"content": "a"}\n{"content": "b"}', "jsonl"),
        ('{"content": "a"}', "jsonl"),
        ('{"content": "a\\q"}\n{"content": "b"}', "jsonl"),
        ('{"content": "a"\n{"content": "b"}', "jsonl"),
        ('{"messages": [{"content": "a"}]}\n{"messages": [{"content": "b"}]}', "jsonl"),
        ('{"messages": [{"content": "\\q"}]}\n{"messages": [{"content": "b"}]}', "jsonl"),
        ('["a", "b"]\n["c", "d"]\n', "jsonl"),
        ('["a\\q", "b"]\n["c", "d"]\n', "jsonl"),
        ('{"content": ["a", "b"]}', "jsonl"),
        ('{"content": "a", "tags": ["b"]}', "jsonl"),
        ('{"a": {"b": 1}, "data": ["b"]}', "jsonl"),
        ('["a", "b"]', "json"),
        ('\ufeff\n["a",\n"b"]', "json"),
        ('["a\\q",\n"b"]', "json"),
        ('[["a"],\n["b"]]', "json"),
        ('{"data": ["a", "b"]}', "json"),
        ('{"v": "1", "n": 2,\n "data": [{"content": "b"}]}', "json"),
        ('{"data": [{"content": "b"}, {"content": "', "json"),
        ('{"data": [{"content": "b"}, {"content": "\\q"}]}', "json"),
        ('{\n"content": "a"\n}\n{\n"content": "b"\n}', "json values"),
        ('{\n"content": "a"\n}', "json values"),
        ('{\n"content": "\\q"\n}\n{', "json values"),
        ('{"content": "a"}{"content": "b"}', "json values"),
        ('{"content": "a"},\n{"content": "b"},\n', "json values"),
    ],
)
def test_the_shape_of_a_file(start: str, kind: str) -> None:
    assert find_json_format(start, "content", is_whole=True, is_lines=True) == kind


def test_lists_behind_one_another_are_lines_only_where_the_name_says_so() -> None:
    start = '["a"]\n["b"]'
    assert find_json_format(start, "content", is_whole=True, is_lines=False) == "json"


@pytest.mark.parametrize(
    ("start", "size"),
    [("[1]", 1), ('{"a": [1]}', 7), ('{"v": "x\\"", "a": [', 19), ("1", 0), ('{"a": 1}', 0)],
)
def test_what_stands_before_the_first_element(start: str, size: int) -> None:
    assert find_prefix(start) == size


def test_what_may_stand_behind_the_list() -> None:
    assert make_tail("[").fullmatch(" \n") and not make_tail("[").fullmatch("}")
    wrapped = make_tail('{"a": [')
    assert wrapped.fullmatch("}") and wrapped.fullmatch(' , "n": 5, "s": "x"\n}\n')
    assert not wrapped.fullmatch(', "b": [1]}') and not wrapped.fullmatch("")
