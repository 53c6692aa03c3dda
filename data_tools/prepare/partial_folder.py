"""The folder in which a preparation grows: `OUT.partial`, next to `OUT`.

`OUT` appears when everything is complete. A file in `OUT.partial` is either complete or has `.tmp`
in its name, so a preparation that was killed continues with what is there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_tools.shards.near_table import near_tables
from data_tools.shards.output import lock, may_write
from gpt2zh.data.manifest import MANIFEST, TOKENIZER_DIR

_LOCK = "lock"


@functools.lru_cache(4096)  # it looks at every folder of a path, and files share their folders
def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


class PartialFolder:
    """Names of everything in `OUT.partial`, and who may use it."""

    def __init__(self, output: Path) -> None:
        if output.is_symlink() or output.name in ("", ".."):
            output = output.resolve()  # the folder is renamed, not a link to it
        self.output = output
        self.path = output.with_name(output.name + ".partial")
        self.work = self.path / "work"
        """Holds what is needed only until the end."""
        self.plan = self.work / "plan.json"
        self.drafts = self.work / "drafts"
        self.units = self.work / "units"
        self.decisions = self.drafts / "decisions"
        """The decision about each document of all units, one byte each."""
        self.decided = self.drafts / "decided.json"
        """Says where in the decisions each unit begins; written last."""
        self.tokenizer = self.path / TOKENIZER_DIR
        self.manifest = self.path / MANIFEST
        """Written when all else is complete; from then on only names change."""
        self.appending = self.path / "appending"
        """Marks that the output stays and these shards go into it."""
        self.replacing = self.path / "replacing"
        """Marks that an existing output may be replaced."""

    def draft(self, unit: int, kind: str) -> Path:
        """Return the path of a draft's file; `json` is written last and completes the draft."""
        return self.drafts / f"{unit:05d}.{kind}"

    def unit(self, unit: int) -> Path:
        """Return the path of the record that makes a unit finished."""
        return self.units / f"{unit:05d}.json"

    def create(self) -> None:
        """Create the folders.

        Raises:
            UserError: The system refuses.
        """
        with may_write(self.path):
            for folder in (self.drafts, self.units):
                folder.mkdir(parents=True, exist_ok=True)

    def owns(self, path: Path) -> bool:
        """Return whether a file lies in the output or in this folder, so it is not an input.

        It may be reached by a link to a folder around them.
        """
        folder = _real(path.parent.absolute())
        return any(folder.is_relative_to(_real(own.absolute())) for own in (self.output, self.path))

    def clear(self) -> None:
        """Remove what a plan that no longer exists left behind."""
        for folder in (self.drafts, self.units):
            for path in folder.iterdir():
                path.unlink()
        for path in (self.appending, self.replacing, *near_tables(self.path)):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.tokenizer, ignore_errors=True)

    def remove_packed(self) -> None:
        """Remove what was made of drafts, which must be packed again."""
        for path in [*self.units.iterdir(), *self.path.iterdir()]:
            if path.parent == self.units or path.suffix in (".arrow", ".parquet", ".u8"):
                path.unlink()

    def sweep(self) -> None:
        """Remove half-written files of killed processes; call it when no process writes."""
        for path in self.path.glob("*.tmp"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def discard(self) -> None:
        """Remove everything in the folder; `hold` removes the folder itself at its end."""
        for path in self.path.iterdir():
            if path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def hold(self, *, is_shared: bool) -> Iterator[None]:
        """Create the folder and hold it: alone, or with others that prepare other parts.

        Raises:
            UserError: Another process holds it, or the system refuses to write there.
        """
        with may_write(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / _LOCK).open("a")
        with file:
            lock(file, is_shared=is_shared, folder=self.path)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    if os.listdir(self.path) == [_LOCK]:
                        self.release_name()
                        self.path.rmdir()

    @contextmanager
    def only_one(self, name: str, *, waits: bool = False) -> Iterator[None]:
        """Hold a named lock in the folder.

        Args:
            name: What only one process may do at a time.
            waits: Wait for another process that holds it.

        Raises:
            UserError: Another process holds it.
        """
        with (self.work / f"{name}.lock").open("a") as file:
            lock(file, waits=waits, folder=self.path)
            yield

    def release_name(self) -> None:
        """Remove the file of the lock, which must not come along when the folder is renamed."""
        (self.path / _LOCK).unlink(missing_ok=True)
