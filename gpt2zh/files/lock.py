"""The lock of a run folder: two runs that write to the same folder would destroy each other.

The lock file names its owner. The kernel's lock on it ends with the process, so a killed run leaves
no lock behind. On some network disks such locks hold on one machine only, or do not exist.
Therefore the owner also touches the file every few seconds, and a file that another machine still
touches counts as locked, whatever the kernel says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import threading
import time
from pathlib import Path

from gpt2zh.config.errors import UserError

LOCK = ".lock"
BEAT = 5.0
"""Seconds between two touches."""
STALE = 45.0
"""Seconds without a touch after which an owner on another machine counts as gone."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class RunLock:
    """The lock on a run folder, held until `release` or the end of the process."""

    def __init__(self, run: Path) -> None:
        """Take the lock.

        If an owner on another machine touched the file lately, wait to see whether it is alive;
        take over the lock if not.

        Raises:
            UserError: Another process writes to the folder.
        """
        run.mkdir(parents=True, exist_ok=True)
        path = run / LOCK
        self._file = path.open("a+", encoding="utf-8")
        has_locks = True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            has_locks = error.errno not in _NO_LOCKS
            if has_locks:
                self._refuse(run, error)
        owner = self._owner()
        if owner and not (has_locks and owner.get("host") == platform.node()):
            print(f"{run} is locked by {_named(owner)}; checking whether it is alive", flush=True)
            if _still_touched(path):
                self._refuse(run, None)
        self._file.truncate(0)
        owner = {"process": os.getpid(), "host": platform.node(), "since": time.ctime()}
        self._file.write(json.dumps(owner) + "\n")
        self._file.flush()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._touch, name="run-lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Release the lock."""
        self._left.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # a disk may be full or gone by now
            self._file.truncate(0)
        self._file.close()

    def _touch(self) -> None:
        while not self._left.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._file.fileno())

    def _owner(self) -> dict[str, object]:
        self._file.seek(0)
        try:
            owner = json.loads(self._file.read())
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _refuse(self, run: Path, error: OSError | None) -> None:
        owner = self._owner()
        self._file.close()
        raise UserError(
            f"{run} is in use by {_named(owner)}; wait until it has ended, or use another --output"
        ) from error


def _named(owner: dict[str, object]) -> str:
    return "process {process} on {host} (since {since})".format_map(
        {"process": "?", "host": "?", "since": "?", **owner}
    )


def _still_touched(path: Path) -> bool:
    """Return whether another process touches a file; this can take `STALE` seconds.

    The clocks of machines differ, so only a change of the time counts, not its value.
    """
    first = path.stat().st_mtime_ns
    begun = time.monotonic()
    while time.monotonic() - begun < STALE:
        if path.stat().st_mtime_ns != first:
            return True
        if time.time() - first / 1e9 > 3 * STALE:  # too old even for a wrong clock
            return False
        time.sleep(0.5)
    return False
