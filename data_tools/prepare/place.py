"""The folder in which a preparation takes shape, and how files get into it whole.

`OUT.partial` stands beside `OUT`, which appears when all is complete. A file in it is either
complete or carries `.tmp` in its name, so that work that was killed goes on from what is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import MANIFEST, TOKENIZER_DIR

_LOCK = "lock"


class Place:
    """Names of everything in `OUT.partial`."""

    def __init__(self, output: Path) -> None:
        if output.is_symlink() or output.name in ("", ".."):
            output = output.resolve()  # what is renamed is the folder, not a link to it
        self.output = output
        self.path = output.with_name(output.name + ".partial")
        self.work = self.path / "work"
        """What is only needed until the end."""
        self.plan = self.work / "plan.json"
        self.drafts = self.work / "drafts"
        self.units = self.work / "units"
        self.tokenizer = self.path / TOKENIZER_DIR
        self.manifest = self.path / MANIFEST
        """Written when all else is complete; from then on only names change."""
        self.appending = self.path / "appending"
        """Marks that the output stays and these shards go into it."""
        self.replacing = self.path / "replacing"
        """Marks that an output that is there may be replaced."""

    def draft(self, unit: int, kind: str) -> Path:
        """Return the name of a draft's file; its `json` is written last and makes it complete."""
        return self.drafts / f"{unit:05d}.{kind}"

    def unit(self, unit: int) -> Path:
        """Return the name of the record that makes a unit finished."""
        return self.units / f"{unit:05d}.json"

    @property
    def fates(self) -> Path:
        """The list of what becomes of each document of all units, a byte each."""
        return self.drafts / "fates"

    @property
    def decided(self) -> Path:
        """Says where in the list each unit begins; written last."""
        return self.drafts / "decided.json"

    def lock(self, name: str) -> Path:
        """Return the name of a lock."""
        return self.work / f"{name}.lock"

    def create(self) -> None:
        """Make the folders.

        Raises:
            UserError: The system refuses.
        """
        try:
            for folder in (self.drafts, self.units):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror} ({error.filename}); choose an output "
                "folder that you may write"
            ) from error

    def owns(self, path: Path) -> bool:
        """Tell whether a file lies in the output or in this folder, and is no input."""
        path = path.absolute()
        return any(path.is_relative_to(own.absolute()) for own in (self.output, self.path))

    def clear(self) -> None:
        """Remove what is left of a plan that is gone."""
        for folder in (self.drafts, self.units):
            for path in folder.iterdir():
                path.unlink()
        for marker in (self.appending, self.replacing):
            marker.unlink(missing_ok=True)
        shutil.rmtree(self.tokenizer, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what processes that were killed left half written, once no other one writes."""
        for path in self.path.glob("*.tmp"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def discard(self) -> None:
        """Remove all that is in the folder; it goes when nobody holds it any more."""
        for path in self.path.iterdir():
            if path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def hold(self, *, is_shared: bool) -> Iterator[None]:
        """Make the folder and hold it: alone, or with others that make other parts.

        Raises:
            UserError: Another process holds it, or the system refuses to write there.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / _LOCK).open("a")
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror} ({error.filename}); choose an output "
                "folder that you may write"
            ) from error
        with file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"another process is preparing {self.path}; wait for it, or end it first"
                ) from error
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    if os.listdir(self.path) == [_LOCK]:
                        (self.path / _LOCK).unlink()
                        self.path.rmdir()

    def release_name(self) -> None:
        """Remove the lock's file, which must not come along when the folder gets its name."""
        (self.path / _LOCK).unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, *, is_durable: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when it was written to its end.

    Args:
        path: Its name.
        is_durable: It outlives a power cut; drafts need not, their sizes and tokens are checked.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is there either completely or not at all."""
    with whole_file(path, is_durable=True) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


@contextmanager
def room_needed(output: Path) -> Iterator[None]:
    """Turn a disk that fills up, or is closed to us, into a message; what is complete stays.

    Raises:
        UserError: The disk is full, or a permission is missing.
    """
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"no permission for {error.filename}; make it accessible or leave it out"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk of {output} is full; what is complete is kept: free some space, then give "
            "the same command again"
        ) from error


@contextmanager
def only_one(path: Path, *, waits: bool = False) -> Iterator[None]:
    """Hold a lock that ends with the process.

    Args:
        path: Its file.
        waits: Wait for another process that holds it.

    Raises:
        UserError: Another process holds it.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except OSError as error:
            raise UserError(
                f"another process is preparing {path.parent.parent}; wait for it, or end it first"
            ) from error
        yield
