"""Brackets inside a broken element."""

from __future__ import annotations

import pytest

from data_tools.sources.json_nesting import Nesting


@pytest.mark.parametrize(
    ("first", "text", "is_in_list"),
    [
        ("{", '"a": [', True),
        ("{", '"a": [1]', False),
        ("{", '"a": "[', False),
        ("{", '"a": "\\"[", "b": [', True),
        ("{", '"a": [{', False),
        ('"', "a[", False),
        ('"', 'a", [', True),
        ("x", "]}[", True),
    ],
)
def test_a_list_is_known_by_its_brackets(first: str, text: str, *, is_in_list: bool) -> None:
    whole, pieces = Nesting(first, 100), Nesting(first, 100)
    whole.feed(text)
    for character in text:
        pieces.feed(character)
    assert whole.is_in_list == pieces.is_in_list == is_in_list


def test_nothing_is_known_after_many_characters() -> None:
    nesting = Nesting("{", 10)
    nesting.feed('"a": [')
    nesting.feed("1, 2, 3, 4")
    assert not nesting.is_in_list


def test_the_end_of_the_element_is_found_and_nothing_is_passed_over() -> None:
    nesting = Nesting("{", 100)
    nesting.feed('"a": [')
    assert nesting.find_end('"]}"]}, {}') == 6
    assert nesting.find_end("1, 2") == -1 and nesting.is_in_list
