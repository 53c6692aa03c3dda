"""Everything that is counted in a sample, by group of files.

A group is a folder of files, or one file where all lie in one folder. Counts are of the sample;
what they mean for the whole corpus is the forecast's business.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_tools import signs
from data_tools.doctor.sample import FileSample
from data_tools.shards.split import document_hashes
from data_tools.sources.block import Block
from gpt2zh.text import pieces
from gpt2zh.text.fidelity import LONGEST, Fate, Loss, RoundTrip
from gpt2zh.text.kernels.utf8 import blank_documents, count_characters
from gpt2zh.text.spans import SpanEncoder, make_encoder
from gpt2zh.text.tokenizer import TextTokenizer

_PIECE = LONGEST // 2  # a cut is taken at the next good place behind it
_WARM_UP = 200_000  # bytes encoded before the clock starts
_DAMAGE = ("\ufffd", "锟斤拷", "烫烫烫", "屯屯屯")  # what a wrong decoding leaves behind
_MOST_FILES = 12  # of one folder that are groups of their own


@dataclass
class Lost:
    """One character that is lost."""

    example: str
    place: str
    """File and line of the example."""
    fates: Counter[Fate] = field(default_factory=Counter)
    """What became of it, and how often."""

    @property
    def count(self) -> int:
        """How often it was lost."""
        return self.fates.total()

    @property
    def fate(self) -> Fate:
        """What becomes of it most of the time."""
        return self.fates.most_common(1)[0][0]


@dataclass
class Group:
    """What was counted in the sample of some files."""

    name: str
    files: int = 0
    bytes: int = 0
    """Of the whole files, on the disk."""
    read: float = 0.0
    """Of these bytes, how many the sample is of."""
    empty: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    characters: list[np.ndarray] = field(default_factory=list)
    """Of each document."""
    tokens: list[np.ndarray] = field(default_factory=list)
    """Of each document, the closing one included."""
    partial: int = 0
    """Tokens that are bytes of a character."""
    lost: Counter[str] = field(default_factory=Counter)
    added: int = 0
    exact: int = 0
    """Documents that came back exactly."""
    copies: int = 0
    """Documents that were in the sample already."""
    damaged: int = 0
    """Documents with traces of a wrong decoding."""

    @property
    def scale(self) -> float:
        """How many times its sample the group is."""
        return self.bytes / self.read if self.read else 0.0


@dataclass
class Examination:
    """What was counted in the whole sample."""

    folder: Path
    """The nearest that holds all files; groups and places are named below it."""
    groups: list[Group]
    losses: dict[str, Lost]
    spelled: Counter[str]
    """Characters that the vocabulary lacks and spells in bytes."""
    damage: tuple[str, str] | None
    """Place and excerpt of a text that was damaged."""
    repeated: tuple[int, str] | None
    """How often the most frequent document occurs, and its beginning."""
    seconds: float
    """Of one core, to encode the sample."""


def examine(samples: Sequence[FileSample], tokenizer: TextTokenizer) -> Examination:
    """Count everything in a sample."""
    return _Examiner(tokenizer).examine(samples)


def shared_folder(paths: Sequence[Path]) -> Path:
    """Return the nearest folder that holds all files."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def group_names(paths: Sequence[Path]) -> list[str]:
    """Return the group of each file, as a path below the folder that they share."""
    top = shared_folder(paths)
    folders = [path.parent.relative_to(top).as_posix() + "/" for path in paths]
    if len(set(folders)) > 1:
        return folders
    if len(paths) <= _MOST_FILES:
        return [path.name for path in paths]
    return [top.name + "/"] * len(paths)


class _Examiner:
    """Goes through the samples once."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._encoder: SpanEncoder = make_encoder(tokenizer)
        self._round_trip = RoundTrip(tokenizer)
        self._is_partial = _partial_tokens(tokenizer)
        self._losses: dict[str, Lost] = {}
        self._counts: Counter[str] = Counter()
        self._seen: Counter[int] = Counter()
        self._first: dict[int, str] = {}
        self._damage: tuple[str, str] | None = None
        self._seconds = 0.0

    def examine(self, samples: Sequence[FileSample]) -> Examination:
        groups: dict[str, Group] = {}
        paths = [sample.source.path for sample in samples]
        names, top = group_names(paths), shared_folder(paths)
        self._warm_up(samples)
        for sample, name in zip(samples, names, strict=True):
            group = groups.setdefault(name, Group(name))
            group.files += 1
            group.bytes += sample.source.bytes
            group.read += sample.read
            for block in sample.blocks:
                self._take(block, sample.source.path.relative_to(top), group)
        return Examination(
            top,
            list(groups.values()),
            self._losses,
            self._spelled_in_bytes(),
            self._damage,
            self._most_repeated(),
            self._seconds,
        )

    def _warm_up(self, samples: Sequence[FileSample]) -> None:
        """Encode a little, so that no compiling and no first look is timed."""
        for block in (block for sample in samples for block in sample.blocks if len(block)):
            count = max(1, int(np.searchsorted(block.ends, block.begins[0] + _WARM_UP)))
            self._encoder.encode(
                block.data, block.begins[:count], block.ends[:count], closing_id=None
            )
            return

    def _take(self, block: Block, path: Path, group: Group) -> None:
        group.set_aside.update(item.reason for item in block.set_aside)
        if not len(block):
            return
        blank = blank_documents(block.data, block.begins, block.ends)
        group.empty += int(blank.sum())
        begins, ends = block.begins[~blank], block.ends[~blank]
        if not len(begins):
            return
        begun = time.process_time()  # all threads together: what one core would need
        ids, counts = self._encoder.encode(block.data, begins, ends, closing_id=None)
        self._seconds += time.process_time() - begun
        group.characters.append(count_characters(block.data, begins, ends))
        group.tokens.append(counts)
        group.partial += int(self._is_partial[ids].sum())
        hashes = document_hashes(block.data, begins, ends).tolist()
        last = np.cumsum(counts).tolist()
        lines = block.lines[~blank].tolist()
        texts = (text for text, skip in zip(block.texts(), blank, strict=True) if not skip)
        for number, text in enumerate(texts):
            self._count_copy(hashes[number], text, group)
            place = f"{path.as_posix()}:{lines[number]}"
            self._counts.update(text)
            self._look_for_damage(text, place, group)
            own = ids[last[number] - int(counts[number]) : last[number]].tolist()
            self._send_around(text, own, place, group)

    def _send_around(self, text: str, ids: list[int], place: str, group: Group) -> None:
        """Write one document back and count what is missing."""
        exact = True
        for part, part_ids in self._parts(text, ids):
            loss = self._round_trip.compare(part, part_ids)
            exact &= not loss.positions and not loss.added
            group.added += loss.added
            group.lost.update(part[position] for position in loss.positions)
            self._note(part, loss, place)
        group.exact += exact

    def _parts(self, text: str, ids: list[int]) -> Iterator[tuple[str, list[int]]]:
        if len(text) <= LONGEST:
            yield text, ids
            return
        for piece in pieces.cut(text, longest=_PIECE):
            for begin in range(0, len(piece), LONGEST):  # where there is no good place for a cut
                part = piece[begin : begin + LONGEST]
                yield part, self._tokenizer.encode(part)

    def _note(self, text: str, loss: Loss, place: str) -> None:
        for position, fate in zip(loss.positions, loss.fates, strict=True):
            sign = text[position]
            lost = self._losses.get(sign)
            if lost is None:
                lost = self._losses[sign] = Lost(signs.in_context(text, position), place)
            lost.fates[fate] += 1

    def _count_copy(self, key: int, text: str, group: Group) -> None:
        self._seen[key] += 1
        if self._seen[key] > 1:
            group.copies += 1
            self._first.setdefault(key, signs.visible(text[:40]))

    def _look_for_damage(self, text: str, place: str, group: Group) -> None:
        for mark in _DAMAGE:
            if mark in text:
                group.damaged += 1
                self._damage = self._damage or (place, signs.in_context(text, text.index(mark)))
                return

    def _most_repeated(self) -> tuple[int, str] | None:
        if not self._first:
            return None
        key = max(self._first, key=lambda key: self._seen[key])
        return self._seen[key], self._first[key]

    def _spelled_in_bytes(self) -> Counter[str]:
        """Return the characters of the sample that have no token, only bytes."""
        found: Counter[str] = Counter()
        for sign, count in self._counts.items():
            ids = self._tokenizer.encode(sign)
            if ids and self._is_partial[ids].all():
                found[sign] = count
        return found


def _partial_tokens(tokenizer: TextTokenizer) -> np.ndarray:
    """Mark the ids that stand for a part of a character, (vocabulary,) bool."""
    marks = np.zeros(tokenizer.vocab_size, bool)
    for number in range(tokenizer.vocab_size):
        marks[number] = "\ufffd" in tokenizer.decode([number])
    return marks
