"""The next whole element behind a broken one."""

from __future__ import annotations

import json
import random
import re

import pytest

from data_tools.sources import json_footing
from data_tools.sources.json_footing import Parser
from data_tools.sources.json_window import TextWindow

from .conftest import Stream

BOTH = frozenset('"{')


def begin(text: str, closing: str = "]") -> tuple[Parser, TextWindow]:
    window = TextWindow(Stream(text.encode()))
    window.fill()
    return Parser(window, closing, re.compile(r"\s*")), window


@pytest.mark.parametrize(
    ("text", "size", "why"),
    [
        ('"ab", 1]', 4, ""),
        ('{"a": [1]}', 10, ""),
        ('"a\\q"', -1, "Invalid \\escape at character 2 of the element"),
        ('"a', -1, "Unterminated string starting at at character 0 of the element"),
        ("x", -1, "Expecting value at character 0 of the element"),
    ],
)
def test_a_value_is_parsed_or_it_is_said_why_not(text: str, size: int, why: str) -> None:
    found = begin(text)[0].parse()
    assert (found.size, found.fault) == (size, why)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('a b", "c", "d"]', '"c", "d"]'),
        ('a, "b"c, "d"]', '"d"]'),
        ('a", {"x": 1}]', '{"x": 1}]'),
        ('a}\n{"x": 1}]', '{"x": 1}]'),
        ('a "b", {"x": [1], "b": ["c", "d"]}]', '{"x": [1], "b": ["c", "d"]}]'),
        ('x", "b"], "y": 1}, "c"]', '"c"]'),
        ('a, b"]', ""),
    ],
)
def test_reading_goes_on_at_the_next_whole_element(text: str, rest: str) -> None:
    parser, window = begin(text)
    skipped = parser.find(BOTH, "x")
    assert window.text[window.at :] == rest and skipped.is_found == bool(rest)
    assert skipped.size + skipped.overhead == len(text) - len(rest)


def test_only_elements_of_the_kinds_are_taken() -> None:
    parser, window = begin('a", "b", {"c": 1}, "d"]')
    assert parser.find(frozenset("{"), '"').is_found
    assert window.text[window.at :] == '{"c": 1}, "d"]'


def test_the_bracket_at_the_end_is_not_a_part_of_the_broken_element() -> None:
    skipped = begin('abc" ]\n')[0].find(BOTH, '"')
    assert (skipped.size, skipped.overhead, skipped.is_found) == (5, 2, False)


@pytest.mark.parametrize("piece", ['{"a":[1,', ',"x"y', ',{"c":1}x', ', "', "[1,{"])
def test_failed_attempts_cost_no_more_than_a_multiple_of_the_text(
    piece: str, set_limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(longest=1000)
    monkeypatch.setattr(json_footing, "AHEAD", 500)
    costs = []
    for count in (1000, 2000):
        parser, _ = begin("x" + piece * count)
        parser.find(BOTH, "x")
        costs.append(parser._spent / (count * len(piece)))
    assert max(costs) < 40 and costs[1] < 1.5 * costs[0] + 1


def test_an_attempt_that_fails_reads_a_short_text_and_costs_more_than_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error counts the lines of all the text that it got."""
    sizes = []

    class Noted(json.JSONDecodeError):
        def __init__(self, msg: str, doc: str, pos: int) -> None:
            sizes.append(len(doc))
            super().__init__(msg, doc, pos)

    monkeypatch.setattr(json.decoder, "JSONDecodeError", Noted)
    count = 20_000
    parser, window = begin('x"' + '\n,{"' * count)
    assert not parser.find(BOTH, "x").is_found and window.peek() == ""
    assert count <= len(sizes) < count + 20 and sum(size > 2000 for size in sizes) < 10
    assert parser._spent > 100 * count


@pytest.mark.parametrize("number", range(40))
def test_a_short_look_sees_what_the_whole_text_shows(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(number)
    pieces = [
        '"a',
        '"',
        ",",
        "{",
        "}",
        '"b": 1',
        "\n",
        "[",
        "]",
        "12",
        "好",
        '"c"',
        '{"d": "e"}',
        "\\",
    ]
    text = "".join(rng.choices(pieces, k=300)) + "]"
    ends = []
    for wary in (0, 16):
        monkeypatch.setattr(json_footing, "_WARY", wary)
        monkeypatch.setattr(json_footing, "_PROBE", 60)
        parser, window = begin(text)
        steps = []
        while window.peek():
            found = parser.parse()
            steps.append(found)
            if found.size > 0:
                window.skip_to(window.at + found.size)
            elif parser.find(BOTH, window.skip_to(window.at + 1).decode()[:1]).is_found:
                steps.append(window.passed)
        ends.append(steps)
    assert ends[0] == ends[1]


def test_a_list_ends_where_nothing_or_another_list_follows() -> None:
    parser, _ = begin("")
    assert parser.ends(" \n") and parser.ends("\n[1]")
    assert not parser.ends(', "a"') and not parser.ends("}")
