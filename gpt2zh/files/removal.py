"""Delete and move folders of checkpoints so that no reader ever finds half a checkpoint."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

DELETING = ".deleting"
"""End of the name of a folder that is being deleted."""
_COPYING = ".copying"


def delete_folder(folder: Path) -> None:
    """Delete a folder; of a link only the link.

    It is renamed first, because deleting takes a while. If that fails half-way, the rest keeps the
    name `.<name>.deleting`.

    Raises:
        OSError: It cannot be deleted, or not completely.
    """
    dying = folder
    if not folder.name.endswith(DELETING):
        dying = folder.with_name(f".{folder.name.lstrip('.')}{DELETING}")
        try:
            folder.rename(dying)
        except OSError as error:
            if not _is_other_layer(error):
                raise
            dying = folder
            _delete_small_files(folder)
    if dying.is_symlink():
        dying.unlink()
    else:
        shutil.rmtree(dying)


def move_folder(folder: Path, target: Path) -> None:
    """Rename a folder; where the disk cannot, copy it, then delete the original.

    Raises:
        OSError: It can be neither renamed nor copied.
    """
    try:
        folder.rename(target)
    except OSError as error:
        if not _is_other_layer(error):
            raise
        copy = target.with_name(f".{target.name.lstrip('.')}{_COPYING}")
        shutil.rmtree(copy, ignore_errors=True)  # of a start that was killed
        shutil.copytree(folder, copy, symlinks=True)
        os.replace(copy, target)
        delete_folder(folder)


def _is_other_layer(error: OSError) -> bool:
    """Return whether a folder lies in a lower layer of a container's disk (overlayfs)."""
    return error.errno == errno.EXDEV


def _delete_small_files(folder: Path) -> None:
    """Delete the JSON files of a folder first: without its manifest no reader trusts it."""
    for path in folder.glob("*.json"):
        path.unlink()
