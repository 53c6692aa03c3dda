"""Paths as people write them: `~` at the beginning is the home folder."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

Config = TypeVar("Config")

IS_PATH = {"is_path": True}
"""Metadata of a field of texts that are paths, globs or names of files."""


def expand_home(text: str) -> str:
    """Replace `~` or `~name` at the beginning of a path by that home folder.

    Shells do so only for a word that begins with it, not in `--output=~/run`, in quotes or in a
    config file. A file or folder whose name begins with `~` stays what it is.
    """
    if not text.startswith("~") or os.path.lexists(text.partition("/")[0]):
        return text
    return os.path.expanduser(text)


IDENTITY = "identity.json"
"""File next to the config in a run folder and in each checkpoint: what makes a run another one."""


def find_copied_run(file: Path, output: object) -> str | None:
    """Return what is wrong if a run folder was copied or moved, and its config names the old place.

    Args:
        file: A config; a run folder and its checkpoints hold one next to `identity.json`.
        output: The folder of the run that it names.
    """
    if not (file.parent / IDENTITY).is_file() or not isinstance(output, str):
        return None
    home, named = file.resolve().parent, Path(expand_home(output)).resolve()
    if named in (home, home.parent):
        return None
    return (
        f"{file}: output is {output}, but the file lies in the run folder {home}, which was copied "
        f"or moved; add --output {home} to continue here, or --output {output} for that folder"
    )


def expand_homes(config: Config) -> Config:
    """Return a config with the home folder in all paths that begin with `~`.

    Args:
        config: A dataclass; its paths are all fields that hold a `Path`, and those with `IS_PATH`.
    """
    assert is_dataclass(config) and not isinstance(config, type)
    changes: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Path):
            changes[field.name] = Path(expand_home(str(value)))
        elif field.metadata.get("is_path") and isinstance(value, str):
            changes[field.name] = expand_home(value)
        elif field.metadata.get("is_path"):
            changes[field.name] = tuple(map(expand_home, value))
        elif is_dataclass(value):
            changes[field.name] = expand_homes(value)
    changed = {name: value for name, value in changes.items() if value != getattr(config, name)}
    return replace(config, **changed) if changed else config
