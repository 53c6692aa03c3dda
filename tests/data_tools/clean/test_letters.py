from __future__ import annotations

import pytest

from data_tools.clean.letters import han_shares

from .conftest import make_block


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
