"""Find what a tokenizer cannot write back: compare decode(encode(text)) with the text.

The two are aligned by their longest common subsequence, so every character of the text is either
written back or lost. If nothing is written in the place of a lost character, the tokenizer encodes
that character alone to find out why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rapidfuzz.distance import LCSseq

from gpt2zh.text.tokenizer import TextTokenizer

LONGEST = 8_000
"""Maximum number of characters that are aligned at once; time and memory grow with the square."""

Kind = Literal["unknown", "changed", "vanished"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a lost character."""

    kind: Kind
    """unknown: it becomes the unknown token; changed: it becomes another character; vanished: it
    becomes nothing."""
    written: str
    """The text that is written in its place; may be empty, also for the unknown token."""


@dataclass(frozen=True, slots=True)
class RoundTripLoss:
    """The differences between a text and what was written back."""

    positions: tuple[int, ...]
    """Positions of the characters that were not written back."""
    outcomes: tuple[Outcome, ...]
    """What became of each of them."""
    added: int
    """Number of characters written that stand for no character of the text."""


class RoundTrip:
    """Compares texts with what a tokenizer writes back; remembers single characters."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._unknown_id = tokenizer.unk_id
        self._alone: dict[str, Outcome | None] = {}

    def compare(self, text: str, ids: Sequence[int]) -> RoundTripLoss:
        """Return what the encoded text has lost.

        Args:
            text: At most `LONGEST` characters.
            ids: The encoded text.
        """
        written = self._tokenizer.decode(ids)
        if written == text:
            return RoundTripLoss((), (), 0)
        has_unknown = self._unknown_id in ids
        positions: list[int] = []
        outcomes: list[Outcome] = []
        added = 0
        for lost, instead in find_gaps(text, written):
            if len(lost) == len(instead):
                own = [Outcome("changed", character) for character in instead]
            else:
                own = [self._explain(text[position], has_unknown) for position in lost]
            added += max(0, len(instead) - sum(len(outcome.written) for outcome in own))
            positions += lost
            outcomes += own
        return RoundTripLoss(tuple(positions), tuple(outcomes), added)

    def _explain(self, character: str, has_unknown: bool) -> Outcome:
        """Return what becomes of a character that has no counterpart in the written text."""
        if character not in self._alone:
            self._alone[character] = self._explain_alone(character)
        alone = self._alone[character]
        if alone is not None:
            return alone
        # Alone it is written back, so it was part of a word that was lost as a whole.
        return Outcome("unknown" if has_unknown else "vanished", "")

    def _explain_alone(self, character: str) -> Outcome | None:
        """Return what becomes of a character that is encoded alone; None if it is kept."""
        ids = self._tokenizer.encode(character)
        written = self._tokenizer.decode(ids)
        if written == character:
            return None
        if self._unknown_id in ids:
            return Outcome("unknown", written)
        return Outcome("changed" if written else "vanished", written)


def find_gaps(text: str, written: str) -> Iterator[tuple[list[int], str]]:
    """Align two texts and yield where they differ.

    Spaces are aligned last, by their number between two characters. Otherwise a decoder that moves
    a space would seem to lose the characters between its old and its new position.

    Yields:
        Positions in `text`, and the characters of `written` in their place; one of the two may be
        empty.
    """
    source, target = _Spaced(text), _Spaced(written)
    end = end_written = 0
    for block in [*LCSseq.opcodes(source.characters, target.characters), None]:
        if block is not None and block.tag != "equal":
            continue
        begin = block.src_start if block else len(source.characters)
        begin_written = block.dest_start if block else len(target.characters)
        if begin > end or begin_written > end_written:
            lost = source.places[end:begin].tolist()
            yield lost, target.characters[end_written:begin_written]
        spaces = source.find_spaces(end, begin)
        more = len(spaces) - len(target.find_spaces(end_written, begin_written))
        if more:
            yield spaces[: max(more, 0)], " " * -more
        if block is not None:
            end, end_written = block.src_end, block.dest_end
            yield from _compare_spaces(source, target, begin, begin_written, end - begin)


class _Spaced:
    """A text without its spaces, and where the spaces were. Shapes: `n` other characters."""

    def __init__(self, text: str) -> None:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        self.characters = text.replace(" ", "")
        self.places = np.flatnonzero(codes != ord(" "))
        """(n,), position of each character in the text."""
        self._edges = np.concatenate(([-1], self.places, [len(codes)]))
        self.before = np.diff(self._edges) - 1
        """(n + 1,), number of spaces before each character, and after the last."""

    def find_spaces(self, begin: int, end: int) -> list[int]:
        """Return the positions of the spaces before the characters from `begin` to `end`."""
        runs = zip(self._edges[begin : end + 1], self._edges[begin + 1 : end + 2], strict=True)
        return [place for left, right in runs for place in range(left + 1, right)]


def _compare_spaces(
    source: _Spaced, target: _Spaced, begin: int, begin_written: int, size: int
) -> Iterator[tuple[list[int], str]]:
    """Yield where the spaces differ inside two equal runs of `size` characters."""
    here = source.before[begin + 1 : begin + size]
    there = target.before[begin_written + 1 : begin_written + size]
    for number in np.flatnonzero(here != there).tolist():
        more = int(here[number] - there[number])
        place = int(source.places[begin + 1 + number])
        yield list(range(place - max(more, 0), place)), " " * -more
