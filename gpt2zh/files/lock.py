"""The lock of a run folder: two runs that write to one folder would ruin both. No torch.

The file names its owner. The kernel's lock on it ends with the process, so nothing is left behind
by one that was killed. Some network disks keep such locks to one machine or have none. Therefore
the owner also touches the file every few seconds, and a file that another machine still touches is
held, whatever the kernel says.
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
"""Seconds without a touch after which an owner on another machine has gone."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class RunLock:
    """A run folder that is ours, until `release` or the end of the process."""

    def __init__(self, run: Path) -> None:
        """Take the lock.

        An owner on another machine that touched the file lately is given the time to show that it
        lives; then either this is refused, or the lock is taken over.

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
            print(f"{run} was left by {_named(owner)}: is it still alive?", flush=True)
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
        """Let others have the folder."""
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
            f"{run} is being written by {_named(owner)}; wait until it has ended, or use "
            "another --output"
        ) from error


def _named(owner: dict[str, object]) -> str:
    return "process {process} on {host} (since {since})".format_map(
        {"process": "?", "host": "?", "since": "?", **owner}
    )


def _still_touched(path: Path) -> bool:
    """Whether somebody touches a file, watched for as long as a touch may take.

    The clocks of machines differ, so only changes count, not what time they tell.
    """
    first = path.stat().st_mtime_ns
    begun = time.monotonic()
    while time.monotonic() - begun < STALE:
        if path.stat().st_mtime_ns != first:
            return True
        if time.time() - first / 1e9 > 3 * STALE:  # so old that no clock can excuse it
            return False
        time.sleep(0.5)
    return False
