"""How characters are shown to people: their names, their kinds, and the place they stand in."""

from __future__ import annotations

import unicodedata

_CONTROLS = {"\t": "TABULATION", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
_VISIBLE = str.maketrans({"\t": "⇥", "\n": "↵", "\r": "␍"})
_AROUND = 12  # characters of context on each side


def name(sign: str) -> str:
    """Return code point and name, such as `U+0020 SPACE`."""
    known = _CONTROLS.get(sign) or unicodedata.name(sign, "")
    return f"U+{ord(sign):04X} {known}".rstrip()


def family(sign: str) -> str:
    """Return the kind of a character in words that need no code table."""
    category = unicodedata.category(sign)
    if sign in "\n\r\u2028\u2029\x85":
        return "line breaks"
    if category == "Zs" or sign == "\t":
        return "spaces"
    if category == "Lu":
        return "capitals"
    if category == "Lo" and unicodedata.name(sign, "").startswith("CJK"):
        return "hanzi"
    if category in ("Pi", "Pf", "Pd", "Po", "Ps", "Pe", "Pc"):
        return "quotes, dashes and dots"
    if category[0] == "C":
        return "control and private characters"
    return "other letters" if category[0] in "LMN" else "other signs"


def in_context(text: str, position: int) -> str:
    """Return a character between brackets with some of the text around it, on one line."""
    before = text[max(0, position - _AROUND) : position]
    after = text[position + 1 : position + 1 + _AROUND]
    return f"{visible(before)}⟦{visible(text[position])}⟧{visible(after)}"


def visible(text: str) -> str:
    """Write control characters so that they can be seen and do no harm."""
    shown = text.translate(_VISIBLE)
    return "".join(
        f"\\u{ord(sign):04x}" if unicodedata.category(sign)[0] == "C" else sign for sign in shown
    )


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    columns = 0
    for sign in text:
        if unicodedata.combining(sign):
            continue
        columns += 2 if unicodedata.east_asian_width(sign) in "WF" else 1
    return columns


def table(rows: list[list[str]], *, left: frozenset[int]) -> list[str]:
    """Align columns by their width on a terminal.

    Args:
        rows: Equally long; the first is the head.
        left: Columns that begin at the left; numbers end at the right.
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (wide - width(cell))
            cells.append(cell + gap if number in left else gap + cell)
        lines.append("  ".join(cells).rstrip())
    return lines
