"""What a tokenizer cannot write back: decode(encode(text)) against the text, sign by sign.

The two are aligned by their longest common subsequence, so every character of the text is either
written back or lost. Where nothing stands in its place, the tokenizer is asked what it makes of
that character alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rapidfuzz.distance import LCSseq

from gpt2zh.text.tokenizer import TextTokenizer

LONGEST = 8_000
"""Characters that are aligned at once at most; time and memory grow with the square."""

Kind = Literal["unknown", "changed", "vanished"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a character that is lost."""

    kind: Kind
    """unknown: the unknown token takes its place; changed: another character does; vanished:
    nothing does."""
    back: str
    """What is written in its place; empty for nothing, and where an unknown token is not
    written."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a text lost on its way."""

    positions: tuple[int, ...]
    """Characters of the text that were not written back."""
    fates: tuple[Fate, ...]
    """What became of each."""
    added: int
    """Characters written for which the text has none."""


class RoundTrip:
    """Compares texts with what a tokenizer makes of them; knows the characters it met."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._unknown_id = unknown_id(tokenizer)
        self._alone: dict[str, Fate | None] = {}

    def compare(self, text: str, ids: Sequence[int]) -> Loss:
        """Tell what `ids`, the encoded text, lost of it.

        Args:
            text: At most `LONGEST` characters.
            ids: What the tokenizer made of it.
        """
        written = self._tokenizer.decode(ids)
        if written == text:
            return Loss((), (), 0)
        has_unknown = self._unknown_id in ids
        positions: list[int] = []
        fates: list[Fate] = []
        added = 0
        for lost, instead in gaps(text, written):
            signs = [text[position] for position in lost]
            if len(lost) == len(instead):
                own = [Fate("changed", sign) for sign in instead]
            else:
                own = [self._fate(sign, has_unknown) for sign in signs]
            added += max(0, len(instead) - sum(len(fate.back) for fate in own))
            positions += lost
            fates += own
        return Loss(tuple(positions), tuple(fates), added)

    def _fate(self, sign: str, has_unknown: bool) -> Fate:
        """Return what becomes of a character that nothing in the written text stands for."""
        if sign not in self._alone:
            self._alone[sign] = self._fate_alone(sign)
        alone = self._alone[sign]
        if alone is not None:
            return alone
        # By itself it comes back; so it was part of a word that did not.
        return Fate("unknown", "") if has_unknown else Fate("vanished", "")

    def _fate_alone(self, sign: str) -> Fate | None:
        ids = self._tokenizer.encode(sign)
        back = self._tokenizer.decode(ids)
        if back == sign:
            return None
        if self._unknown_id in ids:
            return Fate("unknown", back)
        return Fate("changed", back) if back else Fate("vanished", "")


def unknown_id(tokenizer: TextTokenizer) -> int | None:
    """Return the id that stands for what the vocabulary lacks, None where it lacks nothing."""
    token = tokenizer.control.unk_token
    return tokenizer._backend.token_to_id(token) if token else None


def gaps(text: str, written: str) -> Iterator[tuple[list[int], str]]:
    """Align two texts and yield where they differ.

    Spaces are aligned after all else, by their number between two characters: a decoder that puts
    them elsewhere would else seem to lose the characters that they jumped over.

    Yields:
        Positions in `text`, and what stands there instead in `written`; one of the two may be
        empty.
    """
    source, target = _Spaced(text), _Spaced(written)
    end = end_written = 0
    for block in [*LCSseq.opcodes(source.signs, target.signs), None]:
        if block is not None and block.tag != "equal":
            continue
        begin = block.src_start if block else len(source.signs)
        begin_written = block.dest_start if block else len(target.signs)
        if begin > end or begin_written > end_written:
            lost = source.places[end:begin].tolist()
            yield lost, target.signs[end_written:begin_written]
        spaces = source.spaces(end, begin)
        more = len(spaces) - len(target.spaces(end_written, begin_written))
        if more:
            yield spaces[: max(more, 0)], " " * -more
        if block is not None:
            end, end_written = block.src_end, block.dest_end
            yield from _spaces_inside(source, target, begin, begin_written, end - begin)


class _Spaced:
    """A text without its spaces, and where they were. Shapes: `n` other characters."""

    def __init__(self, text: str) -> None:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        self.signs = text.replace(" ", "")
        self.places = np.flatnonzero(codes != ord(" "))
        """(n,), position of each other character in the text."""
        self._edges = np.concatenate(([-1], self.places, [len(codes)]))
        self.before = np.diff(self._edges) - 1
        """(n + 1,), spaces before each, and behind the last."""

    def spaces(self, begin: int, end: int) -> list[int]:
        """Return the positions of the spaces before the characters from `begin` to `end`."""
        runs = zip(self._edges[begin : end + 1], self._edges[begin + 1 : end + 2], strict=True)
        return [place for left, right in runs for place in range(left + 1, right)]


def _spaces_inside(
    source: _Spaced, target: _Spaced, begin: int, begin_written: int, size: int
) -> Iterator[tuple[list[int], str]]:
    """Yield where two equal stretches of `size` other characters are spaced differently."""
    here = source.before[begin + 1 : begin + size]
    there = target.before[begin_written + 1 : begin_written + size]
    for number in np.flatnonzero(here != there).tolist():
        more = int(here[number] - there[number])
        place = int(source.places[begin + 1 + number])
        yield list(range(place - max(more, 0), place)), " " * -more
