from __future__ import annotations

import sys

import numpy as np
import pytest

from data_tools.clean.letters import count_characters, han_shares
from data_tools.clean.utf8 import character_at, is_blank

from .conftest import make_block


def test_white_space_is_what_python_takes_for_it() -> None:
    blank = [code for code in range(sys.maxunicode + 1) if is_blank.py_func(code)]
    assert blank == [code for code in range(sys.maxunicode + 1) if chr(code).isspace()]


def test_characters_of_every_length_are_decoded() -> None:
    text = "\0\x7f\x80\u07ff\u0800中\ud7ff\ue000\uffff\U00010000😀\U0010ffff"
    data, at, found = np.frombuffer(text.encode(), np.uint8), 0, ""
    while at < len(data):
        code, at = character_at.py_func(data, at)
        found += chr(code)
    assert found == text


def test_characters_are_counted_not_bytes() -> None:
    block = make_block(["", "abc", "中文", "é😀\n", "e\u0301"])
    counts = count_characters(block.data, block.begins, block.ends)
    assert counts.tolist() == [0, 3, 2, 3, 2]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("123，。！ \n😀", 0),
        ("中文，123", 1),
        ("〇々㐀鿿豈𠀀𲎯", 1),
        ("中a", 0.5),
        ("中é", 0.5),
        ("日本語のひらがな", 3 / 8),
        ("한국어", 0),
        ("ＡＢ中", 1 / 3),
    ],
)
def test_the_share_of_han_is_taken_among_letters(text: str, share: float) -> None:
    block = make_block([text])
    assert han_shares(block.data, block.begins, block.ends) == pytest.approx([share])
