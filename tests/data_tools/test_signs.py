"""Characters as people see them."""

from __future__ import annotations

import pytest

from data_tools import signs


@pytest.mark.parametrize(
    ("sign", "name", "family"),
    [
        (" ", "U+0020 SPACE", "spaces"),
        ("\u3000", "U+3000 IDEOGRAPHIC SPACE", "spaces"),
        ("\n", "U+000A LINE FEED", "line breaks"),
        ("A", "U+0041 LATIN CAPITAL LETTER A", "capitals"),
        ("龘", "U+9F98 CJK UNIFIED IDEOGRAPH-9F98", "hanzi"),
        ("“", "U+201C LEFT DOUBLE QUOTATION MARK", "quotes, dashes and dots"),
        ("…", "U+2026 HORIZONTAL ELLIPSIS", "quotes, dashes and dots"),
        ("é", "U+00E9 LATIN SMALL LETTER E WITH ACUTE", "other letters"),
        ("😀", "U+1F600 GRINNING FACE", "other signs"),
        ("\ue000", "U+E000", "control and private characters"),
    ],
)
def test_a_character_has_a_name_and_a_family(sign: str, name: str, family: str) -> None:
    assert (signs.name(sign), signs.family(sign)) == (name, family)


def test_context_is_one_line_and_harmless() -> None:
    assert signs.in_context("第一行\n第二\t行\x1b[31m", 3) == "第一行⟦↵⟧第二⇥行\\u001b[31m"
    assert signs.in_context("a" * 50 + "X" + "b" * 50, 50) == "a" * 12 + "⟦X⟧" + "b" * 12


def test_columns_align_where_hanzi_are_two_wide() -> None:
    rows = [["名", "n"], ["abc", "10"], ["一二三", "1"]]
    assert signs.table(rows, left=frozenset({0})) == [
        "名       n",
        "abc     10",
        "一二三   1",
    ]
    assert signs.width("e\u0301，“") == 4
