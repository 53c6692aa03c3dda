"""A folder that appears under its name only when it is complete."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import MANIFEST


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes `target` at the end.

    Whatever goes wrong in between leaves nothing behind, and an old `target` as it was.

    Args:
        target: Must not exist, or be an empty folder.
        overwrite: Allow a `target` that holds shards, and replace it.

    Raises:
        UserError: `target` is taken, or the system refuses to write there.
    """
    check_target(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UserError(
            f"cannot write {target}: {error.strerror} ({error.filename}); choose an output folder "
            "that you may write"
        ) from error
    try:
        yield building
        building.chmod(0o755)  # mkdtemp's own mode would hide the folder from colleagues
        check_target(target, overwrite=overwrite)  # another process may have been faster
        _put_in_place(building, target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk of {target} is full; nothing was kept, free some space or choose an output "
            "folder on another disk"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that is taken.

    Raises:
        UserError: It is no folder, or holds something that may not be replaced.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise UserError(f"output {target} is a file; name a folder that does not exist yet")
    if overwrite and not (target / MANIFEST).is_file():
        raise UserError(
            f"output {target} is no folder of shards (no {MANIFEST}), so --overwrite does not "
            "touch it; name another folder"
        )
    if not overwrite:
        raise UserError(
            f"output {target} exists already; name another folder, remove it, or, where it holds "
            "shards, replace it with --overwrite"
        )


def _put_in_place(building: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        building.replace(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.replace(aside)
    building.replace(target)
    shutil.rmtree(aside)
