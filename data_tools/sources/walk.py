"""Find the files of the input. Folders and globs follow one rule.

- Hidden files and folders are left out, and those of trash and of other systems (`__MACOSX`).
  `*` and `**` never match them; a name that is written out is taken.
- Links are followed: to a folder once, so a loop ends, and to a file once.
- A name that exists is a name, also with brackets in it.

What is left out is counted by kind, so that nothing is missing without notice. A folder is searched
as the glob `FOLDER/**`.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.sources.kinds import (
    BROKEN,
    FOLDER,
    HIDDEN,
    KNOWN,
    TWICE,
    describe_left_out,
    parse_suffixes,
    unknown_kind,
)
from gpt2zh.config.errors import UserError

_ALL = "**"
_TRASH = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "lost+found"),
    *("system volume information", "thumbs.db", "desktop.ini"),
}


@dataclass(frozen=True)
class Found:
    """Files of the input, and what was left out."""

    files: list[Path]
    """Sorted, each once."""
    left_out: list[str]
    """For each file or folder that was left out, a suffix or a reason of `kinds`."""


def search(inputs: Sequence[str]) -> Found:
    """Find the files that match globs, folders and file names.

    Raises:
        UserError: One of `inputs` matches no file, or a folder cannot be listed.
    """
    found = _Collection()
    for pattern in inputs:
        one = _Collection()
        if os.path.isfile(pattern):
            one.take(pattern, os.path.realpath(pattern))
        elif os.path.isdir(pattern):
            _Walk((_ALL,), one).run(pattern)
        else:
            _expand(pattern, one)
        if not one.files:
            raise UserError(_nothing(pattern, one))
        found.join(one)
    return Found(sorted(path for path, _ in found.files.values()), list(found.left_out.values()))


def _nothing(pattern: str, found: _Collection) -> str:
    left_out = describe_left_out(list(found.left_out.values()))
    return (
        f"no file matches '{pattern}' (searched from {os.getcwd()}); give a file, a folder "
        f"of files ({KNOWN}), or a quoted glob such as 'corpus/**/*.csv'"
        + (f"; {left_out}" if left_out else "")
    )


def _expand(pattern: str, found: _Collection) -> None:
    """Collect what a glob matches; if that is nothing, its brackets are meant as such."""
    parts = tuple(part for part in pattern.split("/") if part)
    if not parts:
        return
    root = "/" if pattern.startswith("/") else ""
    _Walk(parts, found).run(root)
    if not found.files and not found.left_out and "[" in pattern:
        _Walk(tuple(part.replace("[", "[[]") for part in parts), found).run(root)


@dataclass
class _Collection:
    """Files and what is left out, each once."""

    files: dict[str, tuple[Path, str]] = field(default_factory=dict)
    """Path as it was found, and the same absolute, by real path."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why, by absolute path."""

    def take(self, path: str, real: str) -> None:
        """Take a file; of several names for it, the real one or else the first is kept."""
        name = os.path.abspath(path)
        _, other = self.files.get(real, (None, name))
        if name == other:
            self.files[real] = (Path(path), name)
            self.left_out.pop(name, None)
            return
        names = sorted({name, other}, key=lambda one: (one != real, os.path.islink(one), one))
        if names[0] == name:
            self.files[real] = (Path(path), name)
            self.left_out.pop(name, None)
        self.left_out[names[1]] = TWICE

    def leave(self, path: str, why: str) -> None:
        """Count a file or folder that is left out."""
        self.left_out.setdefault(os.path.abspath(path), why)

    def join(self, other: _Collection) -> None:
        """Take what another collection holds."""
        for real, (path, _) in other.files.items():
            self.take(str(path), real)
        taken = {name for _, name in self.files.values()}
        self.left_out |= {n: why for n, why in other.left_out.items() if n not in taken}
        for name in taken & self.left_out.keys():
            del self.left_out[name]


@dataclass(frozen=True)
class _Visit:
    """A folder, and which parts of the pattern the names in it are compared with."""

    folder: str
    real: str
    at: frozenset[int]


class _Walk:
    """Expands one pattern.

    A folder and a place in the pattern are visited once, by whatever links they are reached: what
    lies below is the same. Links wait until all real folders are visited, so that files keep their
    real names where they have one.
    """

    def __init__(self, parts: Sequence[str], found: _Collection) -> None:
        self._parts = parts
        self._regex = [re.compile(fnmatch.translate(part)) for part in parts]
        self._found = found
        self._folders: deque[_Visit] = deque()
        self._links: deque[_Visit] = deque()
        self._seen: set[tuple[str, int]] = set()

    def run(self, root: str) -> None:
        """Collect what matches below a folder."""
        self._folders.append(_Visit(root, os.path.realpath(root or "."), frozenset([0])))
        while self._folders or self._links:
            visit = (self._folders or self._links).popleft()
            new = {one for one in self._places(visit.at) if (visit.real, one) not in self._seen}
            self._seen |= {(visit.real, one) for one in new}
            listed = set()
            for one in sorted(new):
                if self._is_name(visit.folder, self._parts[one]):
                    self._visit_name(visit, one)
                else:
                    listed.add(one)
            if listed:
                self._list(visit, listed)

    def _places(self, at: Iterable[int]) -> Iterator[int]:
        """Yield the places, and those that are reached because `**` also matches nothing."""
        for one in at:
            yield one
            while self._parts[one] == _ALL and one + 1 < len(self._parts):
                one += 1
                yield one

    def _is_name(self, folder: str, part: str) -> bool:
        """Return whether a part of the pattern is a name; one in brackets is if it exists."""
        if "*" in part or "?" in part:
            return False
        return "[" not in part or os.path.lexists(os.path.join(folder, part))

    def _visit_name(self, visit: _Visit, at: int) -> None:
        path = os.path.join(visit.folder, self._parts[at])
        if at + 1 == len(self._parts):
            if os.path.lexists(path):
                self._match(path, os.path.realpath(path))
        elif os.path.isdir(path):
            self._enter(path, os.path.realpath(path), [at + 1], is_link=os.path.islink(path))

    def _list(self, visit: _Visit, places: set[int]) -> None:
        """Compare all names in a folder with some parts of the pattern.

        Raises:
            UserError: The folder cannot be listed. If it were skipped, its texts would be missing
                without notice.
        """
        try:
            with os.scandir(visit.folder or ".") as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(
                f"cannot list the folder {error.filename}: {error.strerror}; make it readable or "
                "give --input the folders that you need"
            ) from error
        for entry in listed:
            hits = [one for one in places if self._regex[one].match(entry.name)]
            hits += [one for one in places if self._parts[one] == _ALL and one not in hits]
            if hits:
                self._visit_entry(visit, entry, hits)

    def _visit_entry(self, visit: _Visit, entry: os.DirEntry[str], hits: list[int]) -> None:
        path = os.path.join(visit.folder, entry.name)
        if is_hidden(entry.name):
            if not entry.name.startswith("."):
                return self._found.leave(path, HIDDEN)
            hits = [one for one in hits if self._parts[one].startswith(".")]
            if not hits:
                return self._found.leave(path, HIDDEN)
        is_link = entry.is_symlink()
        real = os.path.realpath(path) if is_link else os.path.join(visit.real, entry.name)
        last = len(self._parts) - 1
        is_folder = os.path.isdir(path) if is_link else entry.is_dir()
        if last in hits and not is_link and entry.is_file():
            return self._take(path, real)
        if not is_folder:
            is_broken = is_link and not os.path.exists(path)
            if last in hits or (is_broken and any(self._parts[one] == _ALL for one in hits)):
                self._match(path, real)
            return
        inner = [one if self._parts[one] == _ALL else one + 1 for one in hits]
        inner = [one for one in inner if one <= last]
        if inner:
            self._enter(path, real, inner, is_link=is_link)
        else:
            self._found.leave(path, FOLDER)

    def _enter(self, path: str, real: str, places: Iterable[int], *, is_link: bool) -> None:
        waiting = self._links if is_link else self._folders
        waiting.append(_Visit(path, real, frozenset(places)))

    def _match(self, path: str, real: str) -> None:
        """Take a file that the whole pattern matches, or count why it is left out."""
        name = os.path.basename(path)
        if os.path.isdir(path):
            self._found.leave(path, FOLDER)
        elif not os.path.isfile(path):
            self._found.leave(path, BROKEN if os.path.islink(path) else unknown_kind(name))
        else:
            self._take(path, real)

    def _take(self, path: str, real: str) -> None:
        """Take a file if it is of a known kind."""
        name = os.path.basename(path)
        if parse_suffixes(name) is None:
            self._found.leave(path, unknown_kind(name))
        else:
            self._found.take(path, real)


def is_hidden(name: str) -> bool:
    """Return whether `*` and `**` leave out a file or folder of this name."""
    return name.startswith(".") or name.casefold() in _TRASH
