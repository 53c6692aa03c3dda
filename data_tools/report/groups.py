"""Files as a few lines: one line a file, or one a folder where there are many files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from data_tools.shards.ledger import total
from gpt2zh.data.manifest import Count, Source

MOST = 20
"""Lines that a reader can still take in."""


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
    folders = [PurePosixPath(source.path).parent.parts for source in sources]
    shared: list[str] = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return PurePosixPath(*shared)


def name_of(source: Source, root: PurePosixPath) -> str:
    """Return the path of a source below the root."""
    path = PurePosixPath(source.path)
    return path.relative_to(root).as_posix() if root.parts else path.as_posix()


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
    """Return at most `MOST` groups: files, else folders as deep as their number allows.

    Where even the folders at the top are too many, the largest have a group each and the others
    share one.
    """
    if len(sources) <= MOST:
        return each(sources)
    root = root_of(sources)
    folders = [PurePosixPath(name_of(source, root)).parent.parts for source in sources]
    for depth in range(max(map(len, folders)), 0, -1):
        if len({folder[:depth] for folder in folders}) <= MOST:
            return _by_name(sources, ["/".join((*folder[:depth], "")) for folder in folders])
    names = ["/".join((*folder[:1], "")) for folder in folders]
    sizes: dict[str, int] = {}
    for name, source in zip(names, sources, strict=True):
        sizes[name] = sizes.get(name, 0) + source.read
    large = set(sorted(sizes, key=lambda name: (-sizes[name], name))[: MOST - 1])
    others = f"{len(sizes) - len(large)} other folders/"
    return _by_name(sources, [name if name in large else others for name in names])


def _by_name(sources: Sequence[Source], names: Sequence[str]) -> list[Group]:
    members: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        members.setdefault(name, []).append(number)
    return [
        Group(name or "./", tuple(numbers), tuple(sources[number] for number in numbers))
        for name, numbers in members.items()
    ]
