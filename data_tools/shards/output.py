"""How results get to the disk: a name appears only when its content is complete.

Whether an output may be written is decided here and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import MANIFEST


def check_output(output: Path, *, overwrite: bool | None = None) -> None:
    """Refuse an output that is taken.

    Args:
        output: Must not exist, or be an empty folder.
        overwrite: Accept a folder of shards, which the caller then replaces; None for a command
            that has no such option.

    Raises:
        UserError: The output is not a folder, or holds something that must stay.
    """
    check_folder(output)
    if not is_taken(output):
        return
    if overwrite and not holds_shards(output):
        raise UserError(
            f"output {output} is not a folder of shards (it has no {MANIFEST}), so --overwrite "
            "does not touch it; name another folder"
        )
    if not overwrite:
        is_replaceable = overwrite is not None and holds_shards(output)
        raise UserError(
            f"output {output} already exists; name another folder or remove it"
            + (", replace it with --overwrite, or add files with --append" * is_replaceable)
        )


def check_folder(output: Path) -> None:
    """Refuse an output that cannot be a folder of ours.

    Raises:
        UserError: It is a file or a mount point.
    """
    if output.is_mount():
        raise UserError(f"output {output} is a mount point; name a folder inside it")
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file; name a folder that does not exist yet")


def is_taken(output: Path) -> bool:
    """Return whether a folder exists and is not empty."""
    return output.exists() and any(output.iterdir())


def holds_shards(output: Path) -> bool:
    """Return whether a folder has a manifest."""
    return (output / MANIFEST).is_file()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target` that becomes `target` at the end.

    An error or interruption in between leaves nothing behind.

    Args:
        target: Must not exist, or be an empty folder.

    Raises:
        UserError: `target` is taken, cannot be written, or its disk is full.
    """
    check_output(target)
    with may_write(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with disk_needed(target, cure="nothing was kept"):
            yield building
        building.chmod(0o755)  # mkdtemp's own mode would hide the folder from colleagues
        check_output(target)  # another process may have been faster
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def may_write(output: Path) -> Iterator[None]:
    """Turn a refusal of the system to create something into a message.

    Raises:
        UserError: The system refuses.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {output}: {error.strerror} ({error.filename}); choose an output folder "
            "where you have write permission"
        ) from error


@contextmanager
def disk_needed(output: Path, *, cure: str) -> Iterator[None]:
    """Turn a full disk or a missing permission into a message.

    Args:
        output: On the disk that may fill up.
        cure: What happened to the files so far.

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
            f"the disk of {output} is full; {cure}. Free some space and run the same command "
            "again, or choose an output folder on another disk"
        ) from error


def lock(file: IO[str], *, is_shared: bool = False, waits: bool = False, folder: Path) -> None:
    """Lock an open file; the lock ends with the file or the process.

    Args:
        file: The file of the lock.
        is_shared: Others may hold it, too, if they also share it.
        waits: Wait until another process gives it up.
        folder: What the lock protects, for the message.

    Raises:
        UserError: Another process holds it, or the disk has no locks.
    """
    operation = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, operation | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise UserError(
            f"another process is preparing {folder}; wait until it ends, or stop it"
        ) from error
    except OSError as error:  # some network disks have no locks
        raise UserError(
            f"{folder} cannot be locked: {error.strerror}; use a disk that supports file locks"
        ) from error
