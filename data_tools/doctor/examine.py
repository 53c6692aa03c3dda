"""Count everything of interest in a sample, by group of files.

A group is a file, or a folder if there are many files (`shards.folders`). All counts are of the
sample; `forecast` scales them to the whole corpus.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_tools.doctor.sample import FileSample
from data_tools.shards.folders import name_groups, shared_folder
from data_tools.shards.split import document_hashes
from data_tools.sources.block import Block
from gpt2zh.pages.characters import in_context, visible
from gpt2zh.text.fidelity import LONGEST, Outcome, RoundTrip, RoundTripLoss
from gpt2zh.text.kernels.utf8 import blank_documents, count_characters
from gpt2zh.text.spans import SpanEncoder, make_encoder
from gpt2zh.text.tokenizer import TextTokenizer, cut_text

_PIECE = LONGEST // 2  # characters after which the next safe position for a cut is used
_WARM_UP = 200_000  # bytes encoded before the clock starts
_MOST_FILES = 12  # more files are grouped by folders; a file's sample is small
_DAMAGE = ("\ufffd", "锟斤拷", "烫烫烫", "屯屯屯")  # traces of text that was decoded wrongly


@dataclass
class LostCharacter:
    """A character that the tokenizer cannot write back."""

    example: str
    """The character in the text around it."""
    place: str
    """File and line of the example."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """What became of it, and how often."""

    @property
    def count(self) -> int:
        """Return how often it was lost."""
        return self.outcomes.total()

    @property
    def outcome(self) -> Outcome:
        """Return what becomes of it most often."""
        return self.outcomes.most_common(1)[0][0]


@dataclass
class FileGroup:
    """Counts of the sample of some files."""

    name: str
    files: int = 0
    sampled: int = 0
    """Files that the sample has something of."""
    records: int = 0
    """Documents of the sample, also blank ones and those that cannot be read."""
    bytes: int = 0
    """Size of the whole files on the disk."""
    read: float = 0.0
    """Bytes of the files on the disk that the sample covers."""
    empty: int = 0
    """Blank documents; they are in no other count."""
    set_aside: Counter[str] = field(default_factory=Counter)
    """Records set aside, by reason."""
    characters: list[np.ndarray] = field(default_factory=list)
    """Characters of each document, one array a block."""
    tokens: list[np.ndarray] = field(default_factory=list)
    """Tokens of each document, one array a block."""
    partial: int = 0
    """Tokens that are single bytes of a character."""
    lost: Counter[str] = field(default_factory=Counter)
    """Characters that were not written back, and how often."""
    added: int = 0
    """Characters written back that the text does not have."""
    exact: int = 0
    """Documents that were written back exactly."""
    copies: int = 0
    """Documents that equal an earlier one of the sample."""
    damaged: int = 0
    """Documents with traces of a wrong decoding."""

    @property
    def scale(self) -> float:
        """Return the size of the group divided by the size of its sample."""
        return self.bytes / self.read if self.read else 0.0


@dataclass
class Examination:
    """Counts of the whole sample."""

    folder: Path
    """The nearest folder that holds all files; groups and places are relative to it."""
    groups: list[FileGroup]
    losses: dict[str, LostCharacter]
    spelled: Counter[str]
    """Characters that have no token and are spelled in bytes."""
    damage: tuple[str, str] | None
    """Place and excerpt of a text that was decoded wrongly."""
    repeated: tuple[int, str] | None
    """How often the most frequent document occurs, and its beginning."""
    seconds: float
    """Seconds that one core needs to encode the sample."""


def examine(
    samples: Sequence[FileSample],
    tokenizer: TextTokenizer,
    *,
    advance: Callable[[float], None] = lambda share: None,
) -> Examination:
    """Count everything in a sample.

    Args:
        samples: What was read of each file.
        tokenizer: Encodes it.
        advance: Gets the share that is done, 0 to 1.
    """
    return _Examiner(tokenizer).examine(samples, advance)


class _Examiner:
    """Counts everything in one pass over the samples."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._encoder: SpanEncoder = make_encoder(tokenizer)
        self._round_trip = RoundTrip(tokenizer)
        self._is_partial = _find_partial_tokens(tokenizer)
        self._losses: dict[str, LostCharacter] = {}
        self._counts: Counter[str] = Counter()
        self._seen: Counter[int] = Counter()
        self._first: dict[int, str] = {}
        self._damage: tuple[str, str] | None = None
        self._seconds = 0.0

    def examine(
        self, samples: Sequence[FileSample], advance: Callable[[float], None]
    ) -> Examination:
        groups: dict[str, FileGroup] = {}
        paths = [sample.source.path for sample in samples]
        sizes = [sample.source.bytes for sample in samples]
        names = name_groups(paths, sizes, most_files=_MOST_FILES)
        top = Path(shared_folder(paths))
        whole, done = sum(int(b.sizes.sum()) for sample in samples for b in sample.blocks), 0
        self._warm_up(samples)
        for sample, name in zip(samples, names, strict=True):
            group = groups.setdefault(name, FileGroup(name))
            group.files += 1
            group.sampled += sample.read > 0
            group.records += sum(len(block) + len(block.set_aside) for block in sample.blocks)
            group.bytes += sample.source.bytes
            group.read += sample.read
            for block in sample.blocks:
                self._count(block, sample.source.path.relative_to(top), group)
                done += int(block.sizes.sum())
                advance(done / max(whole, 1))
        return Examination(
            top,
            list(groups.values()),
            self._losses,
            self._find_spelled(),
            self._damage,
            self._find_most_repeated(),
            self._seconds,
        )

    def _warm_up(self, samples: Sequence[FileSample]) -> None:
        """Encode a little text, so that compiling and first calls are not timed."""
        for block in (block for sample in samples for block in sample.blocks if len(block)):
            count = max(1, int(np.searchsorted(block.ends, block.begins[0] + _WARM_UP)))
            self._encoder.encode(
                block.data, block.begins[:count], block.ends[:count], closing_id=None
            )
            return

    def _count(self, block: Block, path: Path, group: FileGroup) -> None:
        group.set_aside.update(item.reason for item in block.set_aside)
        if not len(block):
            return
        blank = blank_documents(block.data, block.begins, block.ends)
        group.empty += int(blank.sum())
        begins, ends = block.begins[~blank], block.ends[~blank]
        if not len(begins):
            return
        begun = time.process_time()  # of all threads: the time that one core would need
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
            self._count_damage(text, place, group)
            own = ids[last[number] - int(counts[number]) : last[number]].tolist()
            self._count_round_trip(text, own, place, group)

    def _count_round_trip(self, text: str, ids: list[int], place: str, group: FileGroup) -> None:
        """Decode the ids of one document and count what differs from its text."""
        exact = True
        for part, part_ids in self._cut(text, ids):
            loss = self._round_trip.compare(part, part_ids)
            exact &= not loss.positions and not loss.added
            group.added += loss.added
            group.lost.update(part[position] for position in loss.positions)
            self._note_losses(part, loss, place)
        group.exact += exact

    def _cut(self, text: str, ids: list[int]) -> Iterator[tuple[str, list[int]]]:
        """Yield parts of a text that are short enough to compare, with their ids."""
        if len(text) <= LONGEST:
            yield text, ids
            return
        for piece in cut_text(text, longest=_PIECE):
            for begin in range(0, len(piece), LONGEST):  # a piece without a safe cut
                part = piece[begin : begin + LONGEST]
                yield part, self._tokenizer.encode(part)

    def _note_losses(self, text: str, loss: RoundTripLoss, place: str) -> None:
        for position, outcome in zip(loss.positions, loss.outcomes, strict=True):
            character = text[position]
            lost = self._losses.get(character)
            if lost is None:
                example = in_context(text, position)
                lost = self._losses[character] = LostCharacter(example, place)
            lost.outcomes[outcome] += 1

    def _count_copy(self, key: int, text: str, group: FileGroup) -> None:
        self._seen[key] += 1
        if self._seen[key] > 1:
            group.copies += 1
            self._first.setdefault(key, visible(text[:40]))

    def _count_damage(self, text: str, place: str, group: FileGroup) -> None:
        for mark in _DAMAGE:
            if mark in text:
                group.damaged += 1
                self._damage = self._damage or (place, in_context(text, text.index(mark)))
                return

    def _find_most_repeated(self) -> tuple[int, str] | None:
        if not self._first:
            return None
        key = max(self._first, key=lambda key: self._seen[key])
        return self._seen[key], self._first[key]

    def _find_spelled(self) -> Counter[str]:
        """Return the characters of the sample that have no token and are spelled in bytes."""
        found: Counter[str] = Counter()
        for character, count in self._counts.items():
            ids = self._tokenizer.encode(character)
            if ids and self._is_partial[ids].all():
                found[character] = count
        return found


def _find_partial_tokens(tokenizer: TextTokenizer) -> np.ndarray:
    """Return for each id, (vocabulary,) bool, whether it is only a part of a character."""
    marks = np.zeros(tokenizer.vocab_size, bool)
    for number in range(tokenizer.vocab_size):
        marks[number] = "\ufffd" in tokenizer.decode([number])
    return marks
