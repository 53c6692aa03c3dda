"""Parse the elements of a JSON list, and find the next whole element behind a broken one.

Behind a broken element it is not certain where the next one begins: inside a string, a quote, a
comma and "],[" are text. These rules decide, and they prefer a lost element to a piece of a text
that passes for a whole one:

- An element begins with the same character as the elements before it: objects follow objects, so
  the strings inside a broken object are not taken for elements.
- A string begins only behind a comma. A quote inside a valid string has a backslash before it, so
  no place inside a valid string looks like that. An object may also begin behind a closing brace
  or a line end, because commas are forgotten there.
- The element parses by itself, without any correction, and "," or the end of the list follows.
- It does not lie in a list inside the broken element, if the brackets of the element show one.
- No bracket that ends a nested list follows within the next elements. The element behind a string
  is followed by "," or the end of the list too; behind a piece of a text with unescaped quotes it
  would be text. One that does not parse at all is no objection, since it may be broken too.

What can be lost with a broken element: its neighbour, where two strings without a comma between
them could be one text with a quote in it, or where a quote is missing and the text of the neighbour
is not separated by a comma.

Work is bounded. An attempt that fails costs credit, which grows with the text that was read;
without credit, places are passed over. All limits count characters from the beginning of the file,
so the result does not depend on the size of the chunks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from data_tools.sources import source as limits
from data_tools.sources.json_nesting import Nesting
from data_tools.sources.json_shape import SPACES, skip_space
from data_tools.sources.json_window import TextWindow

AHEAD = 65_536
"""Characters behind an element that are looked at before it is trusted."""

_FOLLOWERS = 64  # elements in them that are looked at
_ENOUGH = 8  # whole elements in a row that outweigh brackets which are never closed
_PROBE = 1024  # characters of an attempt of which most fail
_WARY = 16  # attempts behind a failed one that are made with so few characters
_ATTEMPT = 256  # characters that could be parsed in the time of a failed attempt
_SHORT = 65_536  # characters of an attempt without credit
_MARGIN = 16  # characters before the end of the window in which a fault may come from the cut
_MARK = re.compile(f"([,}}\n])[{SPACES}]*")
_STARTS = frozenset('"{[-0123456789tfnNI/')  # of a value or a comment

_Sign = Literal["value", "end", "nested", "text"]
"""What stands behind a value: a comma and another one; the end of the list, or nothing that is
read yet; the end of something else; anything that cannot stand there."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value, or why there is none."""

    value: object
    size: int
    """Characters of it; -1 if it does not parse."""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What lies between a broken element and the next whole one."""

    size: int
    """Bytes of the broken part."""
    overhead: int
    """Bytes of comma and white space behind it, or of the closing bracket."""
    is_found: bool
    """Whether a whole element follows; if not, the stream is at its end."""


class Parser:
    """Parses values at the position of a window."""

    def __init__(self, text: TextWindow, closing: str, tail: re.Pattern[str]) -> None:
        """Store the arguments.

        Args:
            text: The window.
            closing: The bracket at the end of the list; "" if the values follow one another.
            tail: Matches everything that may stand behind this bracket.
        """
        self._text = text
        self._closing = closing
        self._tail = tail
        self._decoder = json.JSONDecoder()
        self._spent = 0
        self._wary = 0
        self._inside = 0
        """Where the broken element ends, once its brackets have shown that."""

    def parse(self) -> Parsed:
        """Parse the value at `text.at`; the window may be filled, but its position stays."""
        text = self._text
        longest = limits.LONGEST_RECORD
        limit = min(longest, _SHORT) if self._count_debt() else longest
        if self._wary:
            self._wary -= 1
            if (found := self._probe(limit)) is not None:
                return found
        while True:
            place, is_final = -1, False
            try:
                value, end = self._decoder.raw_decode(text.text, text.at)
                fault = ""  # a number may continue in the next chunk
                if (end < len(text.text) or text.is_last) and end - text.at <= limit:
                    return Parsed(value, end - text.at)
                place = end - text.at
            except json.JSONDecodeError as error:
                place = error.pos - text.at
                fault = f"{error.msg} at character {place} of the element"
                if error.msg.startswith("Unterminated"):
                    place = len(text.text) - text.at
                is_final = error.pos + _MARGIN < len(text.text) and place <= limit
                is_final &= not error.msg.startswith("Unterminated")
            except (ValueError, RecursionError) as error:
                place, fault, is_final = min(limit, _SHORT), str(error), True
            is_long = len(text.text) - text.at > limit + _MARGIN and not is_final
            if is_long:
                place, fault = limit, f"it does not end within {limit} characters"
            if is_final or is_long or text.is_last:
                return self._fail(place, fault)
            text.fill()

    def _probe(self, limit: int) -> Parsed | None:
        """Return what the next characters say about a value already; None if more are needed.

        An error of `json` counts the lines from the beginning of its text, so where many attempts
        fail, this text must be short.
        """
        at = self._text.at
        start = self._text.text[at : at + _PROBE]
        sure = min(limit, len(start) - _MARGIN)
        try:
            value, end = self._decoder.raw_decode(start)
        except json.JSONDecodeError as error:
            if error.pos < sure and not error.msg.startswith("Unterminated"):
                return self._fail(error.pos, f"{error.msg} at character {error.pos} of the element")
        except (ValueError, RecursionError):
            pass
        else:
            if end < sure:
                return Parsed(value, end)
        return None

    def _fail(self, place: int, fault: str) -> Parsed:
        """Count an attempt that failed behind so many characters."""
        self._spent += place + _ATTEMPT
        self._wary = _WARY
        return Parsed(None, -1, fault)

    def _count_debt(self) -> int:
        """Return how many characters must be read until there is credit again."""
        debt = self._spent - 4 * limits.LONGEST_RECORD - 2 * self._text.passed
        return max(0, -(-debt // 2))

    def find(self, kinds: Set[str], first: str) -> Skipped:
        """Move to the next whole element, or to the end of the stream.

        Args:
            kinds: The characters with which it may begin.
            first: The first character of the broken element, which is behind the window.
        """
        text = self._text
        nesting = Nesting(first, AHEAD)
        size, closing = 0, 0  # closing: bytes since the last closing bracket, if only space follows
        self._inside = 0
        blind = 0  # characters that are passed over because there is no credit for attempts
        while True:
            blind = blind or self._count_debt()
            begin = min(text.at + blind, len(text.text))
            blind -= begin - text.at
            match = None if blind else self._find_place(begin, kinds)
            end = match.start() if match else len(text.text)
            nesting.feed(text.text[text.at : end + 1])
            passed = text.skip_to(end)
            size += len(passed)
            closing = self._find_closing(passed, closing)
            if match is None:
                if text.is_last:
                    return Skipped(size - closing, closing, is_found=False)
                text.fill()
                continue
            mark = match[1]
            tail = len(text.skip_to(text.at + 1)) + text.skip_space()
            size += tail
            closing = closing + tail if closing and mark == "\n" else 0
            if self._may_begin(mark, text.peek(), kinds) and self._stands(nesting):
                tail -= mark == "}"
                return Skipped(size - tail, tail, is_found=True)

    def _find_place(self, begin: int, kinds: Set[str]) -> re.Match[str] | None:
        """Return the next mark behind which an element may begin, or the window ends."""
        text = self._text
        for match in _MARK.finditer(text.text, begin):
            if match.end() == len(text.text):
                return None if text.is_last else match
            if self._may_begin(match[1], text.text[match.end()], kinds):
                return match
        return None

    def _may_begin(self, mark: str, character: str, kinds: Set[str]) -> bool:
        return character in kinds and (mark == "," or character == "{")

    def _find_closing(self, passed: bytes, before: int) -> int:
        """Return the bytes from the last closing bracket on, 0 if more than space follows it."""
        kept = passed.rstrip(SPACES.encode())
        if not kept:
            return before + len(passed) if before else 0
        is_closed = bool(self._closing) and kept.endswith(self._closing.encode())
        return len(passed) - len(kept) + 1 if is_closed else 0

    def _stands(self, nesting: Nesting) -> bool:
        """Return whether a whole element begins at the position of the window."""
        if self._lies_in(nesting):
            return False
        is_doubtful = nesting.is_in_list
        found = self.parse()
        if found.size < 0:
            return False
        ahead, is_whole = self._text.look(self._text.at + found.size, AHEAD)
        value, at = found.value, 0
        for number in range(_FOLLOWERS):
            sign, at = self._read_sign(value, ahead, at, is_whole=is_whole)
            is_piece = number == 0 or (number == 1 and isinstance(found.value, str))
            if sign == "nested" or (sign == "text" and is_piece):
                self._spent += found.size + at
                return False
            if sign != "value":
                return True
            try:
                value, at = self._decoder.raw_decode(ahead, at)
            except (ValueError, RecursionError):
                return not is_doubtful or number >= _ENOUGH
        return True

    def _lies_in(self, nesting: Nesting) -> bool:
        """Return whether the position lies in a list inside the broken element.

        Brackets say so, if they are also closed soon, as those of a list that is whole.
        """
        text = self._text
        if text.passed < self._inside:
            return True
        if not nesting.is_in_list:
            return False
        ahead, _ = text.look(text.at, AHEAD)
        size = nesting.find_end(ahead)
        self._spent += 8 * (len(ahead) if size < 0 else size)  # slower than to parse
        is_whole = size >= 0 and ahead[size:].lstrip(SPACES)[:1] in ("", ",", "]", "{")
        self._inside = text.passed + size if is_whole else 0
        return is_whole

    def _read_sign(
        self, value: object, ahead: str, at: int, *, is_whole: bool
    ) -> tuple[_Sign, int]:
        """Return what stands behind a value, and the position of it."""
        at = skip_space(ahead, at)
        is_object = isinstance(value, dict)
        while ahead[at : at + 1] == ",":
            at = skip_space(ahead, at + 1)
            if ahead[at : at + 1] in _STARTS:
                return "value", at
        if at == len(ahead):
            return "end", at
        if ahead[at] == self._closing:
            if self.ends(ahead[at + 1 :]) or (not is_whole and len(ahead) - at < _MARGIN):
                return "end", at
            return "nested", at
        if ahead[at] in "]}":
            return "nested", at
        if is_object and ahead[at] == "{":
            return "value", at
        return ("end" if is_object and ahead[at] in "/#" else "text"), at

    def ends(self, behind: str) -> bool:
        """Return whether a text behind a closing bracket shows that the list ends there.

        Args:
            behind: Up to the end of the file, or at least `AHEAD` characters of it.
        """
        return behind.lstrip(SPACES).startswith("[") or bool(self._tail.fullmatch(behind))
