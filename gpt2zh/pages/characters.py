"""Characters as people see them: visible, with a name and a kind, at their width on a terminal."""

from __future__ import annotations

import unicodedata

_CONTROLS = {"\t": "TABULATION", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
_VISIBLE = str.maketrans({"\t": "\u21e5", "\n": "\u21b5", "\r": "\u240d"})
_AROUND = 12  # characters of context on each side


def visible(text: str) -> str:
    """Return a text whose control characters can be seen and do no harm."""
    if text.isprintable():
        return text
    shown = text.translate(_VISIBLE)
    return "".join(
        f"\\u{ord(one):04x}" if unicodedata.category(one)[0] == "C" else one for one in shown
    )


def character_name(character: str) -> str:
    """Return code point and name, such as `U+0020 SPACE`."""
    known = _CONTROLS.get(character) or unicodedata.name(character, "")
    return f"U+{ord(character):04X} {known}".rstrip()


def character_kind(character: str) -> str:
    """Return the kind of a character in words that need no code table."""
    category = unicodedata.category(character)
    if character in "\n\r\u2028\u2029\x85":
        return "line breaks"
    if category == "Zs" or character == "\t":
        return "spaces"
    if category == "Lu":
        return "capitals"
    if category == "Lo" and unicodedata.name(character, "").startswith("CJK"):
        return "hanzi"
    if category in ("Pi", "Pf", "Pd", "Po", "Ps", "Pe", "Pc"):
        return "quotes, dashes and dots"
    if category[0] == "C":
        return "control and private characters"
    return "other letters" if category[0] in "LMN" else "other signs"


def in_context(text: str, position: int) -> str:
    """Return one character between brackets with some of the text around it, on one line."""
    before = text[max(0, position - _AROUND) : position]
    after = text[position + 1 : position + 1 + _AROUND]
    return f"{visible(before)}\u27e6{visible(text[position])}\u27e7{visible(after)}"


def columns(text: str) -> int:
    """Return the number of columns that a text takes on a terminal; a Chinese character takes 2."""
    total = 0
    for character in text:
        if unicodedata.combining(character):
            continue
        total += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return total
