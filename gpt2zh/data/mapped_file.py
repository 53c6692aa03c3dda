"""A file of rows that a run has mapped into memory: notice when somebody changes it.

The kernel kills a process that reads beyond the end of a truncated file (SIGBUS), and shows bytes
that were written in place as if they were the text. So size and time of the file are looked at
before rows are read.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from gpt2zh.config.errors import UserError
from gpt2zh.files.checksum import Entry, check_content

LOOK = 0.2
"""Seconds in which a file is not looked at again; on some network disks a look takes long."""

_State = tuple[int, int, int]  # inode, size and time of change


class MappedFile:
    """A file, and how it was before it was mapped."""

    def __init__(self, folder: Path, entry: Entry) -> None:
        """Take the state of the file; map it afterwards."""
        self._folder = folder
        self._entry = entry
        self._path = folder / entry.file
        self._was = self._look()
        self._looked_at = time.monotonic()

    def check(self, *, at_most_every: float = LOOK) -> None:
        """Check that the mapping still shows the rows of the manifest.

        A file that was deleted or replaced by another one stays mapped as it was. One that only has
        another time is read and compared with its sha256.

        Args:
            at_most_every: Seconds after the last look in which it is not repeated.

        Raises:
            UserError: The file has other bytes than the manifest says.
        """
        now = time.monotonic()
        if now - self._looked_at < at_most_every:
            return
        self._looked_at = now
        found = self._look()
        if found is None or self._was is None or found == self._was or found[0] != self._was[0]:
            return
        try:
            check_content(self._folder, self._entry, kind="shard")
        except UserError as error:
            raise UserError(
                f"{error}. It was changed while this run reads it; restore it and start again: the "
                "run continues from its last checkpoint"
            ) from error
        self._was = found

    def describe_change(self) -> str | None:
        """Return how the file differs from what was mapped, without reading it; None if equal."""
        found = self._look()
        if found is None or self._was is None or found == self._was or found[0] != self._was[0]:
            return None
        return (
            f"shard {self._path} was changed while this run reads it: it has {found[1]} bytes, the "
            f"manifest says {self._entry.bytes}"
        )

    def _look(self) -> _State | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
