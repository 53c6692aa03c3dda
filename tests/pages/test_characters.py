"""Characters as people see them."""

from __future__ import annotations

import pytest

from gpt2zh.pages.characters import (
    character_kind,
    character_name,
    columns,
    in_context,
    visible,
)


@pytest.mark.parametrize(
    ("character", "name", "kind"),
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
def test_a_character_has_a_name_and_a_kind(character: str, name: str, kind: str) -> None:
    assert (character_name(character), character_kind(character)) == (name, kind)


def test_control_characters_become_visible_and_all_others_stay() -> None:
    assert visible("a\tb\r\nc") == "a⇥b␍↵c"
    assert visible("\x1b[31m\u202e\0\udcff\ue000") == "\\u001b[31m\\u202e\\u0000\\udcff\\ue000"
    assert visible("第一\u3000行\u2028😀 é\u00a0") == "第一\u3000行\u2028😀 é\u00a0"


def test_context_is_one_line_and_harmless() -> None:
    assert in_context("第一行\n第二\t行\x1b[31m", 3) == "第一行⟦↵⟧第二⇥行\\u001b[31m"
    assert in_context("a" * 50 + "X" + "b" * 50, 50) == "a" * 12 + "⟦X⟧" + "b" * 12


def test_chinese_takes_two_columns_and_an_accent_none() -> None:
    assert columns("e\u0301，“") == 4 and columns("一a") == 3 and columns("") == 0
