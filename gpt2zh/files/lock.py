"""The lock of a run folder: two runs that write to the same folder would destroy each other.

The lock file names its owner. The kernel's lock on it ends with the process, so a killed run leaves
no lock behind. On some network disks such locks hold on one machine only, or do not exist.
Therefore the owner also touches the file every few seconds. An owner that this kernel does not know
counts as dead only after we have watched the file for many of these periods and it did not change:
clocks are never compared, since those of two machines can be minutes apart.

A folder can be renamed, deleted or replaced by a link while its run goes on. So the owner compares
the lock file that it holds with the one that is in the folder now, before it writes there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from gpt2zh.config.errors import UserError
from gpt2zh.files.owners import explain_unwritable

LOCK = ".lock"
STOP = ".stop"
"""File that asks the owner to stop; it holds the owner's `key`, so that no later run obeys it."""
BEAT = 5.0
"""Seconds between two touches."""
STALE = 45.0
"""Seconds without a touch, while we watch, after which an owner counts as dead."""
LOOK = 1.0
"""Seconds between two looks for the stop-file."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

Owner = dict[str, object]


class LostFolderError(OSError):
    """The run folder now belongs to another run, or has gone."""


class RunLock:
    """The lock on a run folder, held until `release` or the end of the process."""

    def __init__(self, run: Path, *, asked: Callable[[], None] = lambda: None) -> None:
        """Take the lock.

        If the file names an owner that this kernel does not know, watch whether it is alive; take
        over the lock if not.

        Args:
            run: The run folder; it is made if it does not exist.
            asked: Called by a thread when someone asks this run to stop with `gpt2zh stop`.

        Raises:
            UserError: Another process writes to the folder, or it cannot be written.
        """
        self._run = run
        self._path = run / LOCK
        self._asked = asked
        self._made = [folder for folder in (run, *run.parents) if not folder.exists()]
        try:
            run.mkdir(parents=True, exist_ok=True)
            self._folder = os.stat(run)
            self._file = self._acquire()
        except OSError as error:
            raise UserError(
                f"--output {run} cannot be used: {explain_unwritable(error, self._path)}"
            ) from error
        self._key = secrets.token_hex(8)
        self._write_owner(self._file)
        (run / STOP).unlink(missing_ok=True)  # for an earlier run
        self._checked_at = time.monotonic()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="run-lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Release the lock."""
        self._leave()
        with contextlib.suppress(OSError):  # a disk may be full or gone by now
            self._file.truncate(0)
        self._file.close()

    def discard(self) -> None:
        """Release the lock and delete the file, with the folders that were made for it."""
        self._leave()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self._path.unlink()
            for folder in self._made:
                folder.rmdir()
        self._file.close()

    def check(self, *, at_most_every: float = 0.0) -> None:
        """Check that the run folder is still that of this run; call it before writing there.

        A lock file that was deleted is made again if nobody else has made one.

        Args:
            at_most_every: Seconds after the last check in which nothing is checked again.

        Raises:
            LostFolderError: Another run has the folder, or it has gone.
        """
        now = time.monotonic()
        if now - self._checked_at < at_most_every:
            return
        self._checked_at = now
        try:
            if self._is_mine():
                return
            owner = read_owner(self._path)
        except FileNotFoundError:
            if self._lock_again():
                return
            owner = None
        except OSError:  # the disk does not answer; what is written next will say so
            return
        who = f"{name_owner(owner)} uses it now" if owner else "it was moved, deleted or replaced"
        raise LostFolderError(
            f"{self._run} is no longer the folder of this run: {who}. Nothing more is written "
            "there. If the folder was renamed, continue this run with its new name as --output"
        )

    def _acquire(self) -> IO[str]:
        """Open and lock the file; watch whether an owner that this kernel does not know lives."""
        while True:
            file = self._path.open("a+", encoding="utf-8")
            has_locks = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                has_locks = error.errno not in _NO_LOCKS
                if has_locks:
                    self._refuse(file, error)
            owner = read_owner(self._path)
            if owner and not (has_locks and owner.get("boot") == _boot()):
                print(
                    f"{self._run} is locked by {name_owner(owner)}; watching for up to "
                    f"{STALE:.0f} s whether it is alive",
                    flush=True,
                )
                if is_touched(self._path):
                    self._refuse(file, None)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                    return file
            file.close()  # it was deleted or replaced while we waited

    def _refuse(self, file: IO[str], error: OSError | None) -> None:
        file.close()
        owner = read_owner(self._path) or {}
        raise UserError(
            f"{self._run} is in use by {name_owner(owner)}; wait until it has ended, stop it with "
            f"`gpt2zh stop {self._run}`, or use another --output"
        ) from error

    def _write_owner(self, file: IO[str]) -> None:
        owner = {"process": os.getpid(), "host": platform.node(), "since": time.ctime()}
        owner |= {"boot": _boot(), "key": self._key}
        file.truncate(0)
        file.write(json.dumps(owner) + "\n")
        file.flush()

    def _is_mine(self) -> bool:
        """Return whether the lock file in the folder is the one that we hold and names us."""
        with self._path.open(encoding="utf-8", errors="replace") as file:
            same = os.path.samestat(os.fstat(file.fileno()), os.fstat(self._file.fileno()))
            return same and _parse(file.read()).get("key") == self._key

    def _lock_again(self) -> bool:
        """Make the lock file again, if the folder is the same; return whether it is ours."""
        try:
            if not os.path.samestat(os.stat(self._run), self._folder):
                return False
            file = self._path.open("x+", encoding="utf-8")
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_owner(file)
        except OSError:  # another run was faster, or the folder has gone
            return False
        self._file.close()
        self._file = file
        return True

    def _leave(self) -> None:
        self._left.set()
        self._thread.join()

    def _work(self) -> None:
        """Touch the file, and look whether someone asks us to stop."""
        touched = time.monotonic()
        while not self._left.wait(min(BEAT, LOOK)):
            with contextlib.suppress(OSError, ValueError):  # a disk that is away, a closed file
                if time.monotonic() - touched >= BEAT:
                    touched = time.monotonic()
                    os.utime(self._file.fileno())
                stop = self._run / STOP
                if stop.read_text("utf-8").strip() == self._key:
                    stop.unlink()  # the answer that `gpt2zh stop` waits for
                    self._asked()


def read_owner(path: Path) -> Owner:
    """Return what a lock file says about its owner; empty if it names nobody.

    Raises:
        OSError: The file does not exist or cannot be read.
    """
    return _parse(path.read_text("utf-8", errors="replace"))


def name_owner(owner: Owner) -> str:
    """Return an owner in words."""
    return "process {process} on {host} (since {since})".format_map(
        {"process": "?", "host": "?", "since": "?", **owner}
    )


def is_touched(path: Path) -> bool:
    """Return whether another process touches a file while we watch; takes `STALE` seconds at most.

    The file is opened at each look: then a network disk asks its server, instead of its cache.
    """
    begun = time.monotonic()
    first = _look(path)
    while first is not None and time.monotonic() - begun < STALE:
        time.sleep(min(0.5, BEAT))
        if _look(path) != first:
            return _look(path) is not None
    return False


def _look(path: Path) -> tuple[int, str] | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return os.fstat(file.fileno()).st_mtime_ns, file.read()
    except OSError:
        return None


def _parse(text: str) -> Owner:
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _boot() -> str:
    """Return what identifies this kernel since its start; containers on it have the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # not Linux
        return platform.node()
