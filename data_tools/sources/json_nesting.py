"""Follow the brackets inside a broken element of a JSON list, as far as its quotes allow it."""

from __future__ import annotations

import re
from copy import copy

_SIGN = re.compile(r'["\\{}\[\]]')
_OPENING = {"}": "{", "]": "["}


class Nesting:
    """The brackets that are open behind some characters of an element.

    In an element with a quote too many or too few it is wrong, so it speaks only for the first
    characters.
    """

    def __init__(self, first: str, most: int) -> None:
        """Begin an element.

        Args:
            first: Its first character.
            most: Characters after which nothing is known any more.
        """
        self._open = ["{"] if first == "{" else []
        self._is_string = first == '"'
        self._escape = -1
        """Position of a character with a backslash before it."""
        self._passed = 0
        self._most = most

    @property
    def is_in_list(self) -> bool:
        """Whether the next character lies in a list inside the element."""
        is_known = self._passed <= self._most and not self._is_string
        return is_known and self._open[-1:] == ["["]

    def feed(self, text: str) -> None:
        """Pass over the next characters of the element."""
        if self._passed <= self._most:
            self._follow(text)
        self._passed += len(text)

    def find_end(self, ahead: str) -> int:
        """Return how many of the next characters end the element, -1 if they do not."""
        twin = copy(self)
        twin._open = list(self._open)
        return twin._follow(ahead, until_closed=True)

    def _follow(self, text: str, *, until_closed: bool = False) -> int:
        """Follow some characters; return where the last open bracket is closed, if asked."""
        for match in _SIGN.finditer(text):
            sign, place = match[0], self._passed + match.start()
            if place == self._escape:
                continue
            if sign == "\\":
                self._escape = place + 1
            elif sign == '"':
                self._is_string = not self._is_string
            elif not self._is_string and sign in "{[":
                self._open.append(sign)
            elif not self._is_string and self._open[-1:] == [_OPENING[sign]]:
                self._open.pop()
                if until_closed and not self._open:
                    return match.end()
        return -1
