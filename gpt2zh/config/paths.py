"""Paths as people write them: `~` at the beginning is the home folder."""

from __future__ import annotations

import os


def expand_home(text: str) -> str:
    """Replace `~` or `~name` at the beginning of a path by that home folder.

    Shells do so only for a word that begins with it, not in `--output=~/run`, in quotes or in a
    config file. A file or folder whose name begins with `~` stays what it is.
    """
    if not text.startswith("~") or os.path.lexists(text):
        return text
    return os.path.expanduser(text)
