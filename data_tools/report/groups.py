"""Files as a few lines: one line a file, or one a folder where there are many files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from data_tools.shards.folders import name_below, name_groups, shared_folder
from data_tools.shards.ledger import total
from gpt2zh.data.manifest import Count, Source


@dataclass(frozen=True)
class Group:
    """One or several sources."""

    name: str
    """Path relative to the folder that holds all sources; a folder ends with a slash."""
    numbers: tuple[int, ...]
    """Of the sources in the manifest."""
    sources: tuple[Source, ...]

    @cached_property
    def fates(self) -> dict[str, Count]:
        """What became of everything that was read."""
        return total(self.sources)

    @cached_property
    def read(self) -> Count:
        """What the readers counted."""
        return Count(
            documents=sum(source.records for source in self.sources),
            bytes=sum(source.read for source in self.sources),
        )

    @cached_property
    def characters(self) -> int:
        """Of the documents kept."""
        return sum(source.characters for source in self.sources)

    @cached_property
    def tokens(self) -> int:
        """Of the documents kept."""
        return sum(source.tokens for source in self.sources)


def root_of(sources: Sequence[Source]) -> PurePosixPath:
    """Return the deepest folder that holds all sources."""
    return shared_folder([PurePosixPath(source.path) for source in sources])


def name_of(source: Source, root: PurePosixPath) -> str:
    """Return the path of a source below the root."""
    return name_below(PurePosixPath(source.path), root)


def each(sources: Sequence[Source]) -> list[Group]:
    """Return a group for every source."""
    root = root_of(sources)
    return [
        Group(name_of(source, root), (number,), (source,)) for number, source in enumerate(sources)
    ]


def together(sources: Sequence[Source], name: str) -> Group:
    """Return one group with all sources."""
    return Group(name, tuple(range(len(sources))), tuple(sources))


def grouped(sources: Sequence[Source]) -> list[Group]:
    """Return at most `folders.MOST` groups: files, else folders as deep as their number allows."""
    paths = [PurePosixPath(source.path) for source in sources]
    names = name_groups(paths, [source.read for source in sources])
    members: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        members.setdefault(name, []).append(number)
    return [
        Group(name, tuple(numbers), tuple(sources[number] for number in numbers))
        for name, numbers in members.items()
    ]
