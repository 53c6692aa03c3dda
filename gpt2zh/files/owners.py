"""Say why a file cannot be written: often it belongs to another user, after a start as root."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
from pathlib import Path

_FORBIDDEN = {errno.EACCES, errno.EPERM}


def explain_unwritable(error: OSError, path: Path) -> str:
    """Return an error of the system as a sentence, with the owner of the file and the cure.

    Args:
        error: What the system answered.
        path: The file or folder that should be written; it may not exist.
    """
    where = Path(os.fsdecode(error.filename)) if error.filename else path
    what = f"{where}: {error.strerror or error}"
    if error.errno not in _FORBIDDEN:
        return f"{what}; choose another folder"
    nearest = next((place for place in (where, *where.parents) if os.path.lexists(place)), where)
    owner = _owner_of(nearest)
    return (
        f"{what}. {nearest} belongs to {owner} and this process runs as {_name(os.geteuid())}; "
        "start the run as that user, give yourself the folder (chown -R), or choose another folder"
    )


def _owner_of(path: Path) -> str:
    try:
        return _name(os.lstat(path).st_uid)
    except OSError:
        return "somebody else"


def _name(user: int) -> str:
    with contextlib.suppress(KeyError):
        return f"{pwd.getpwuid(user).pw_name} (uid {user})"
    return f"uid {user}"
