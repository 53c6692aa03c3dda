"""Read the trainer state of a checkpoint, and refuse one that this version cannot use. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from gpt2zh.config.errors import UserError
from gpt2zh.files import run_folder
from gpt2zh.train.state import TrainState

_KINDS = {"progress": dict, "updates": int, "loss_scale": dict}
_ALWAYS = ("step", "rows")
"""Entries of the progress that older versions have written, too."""
_CURE = "continue with the version that wrote it, or from another checkpoint with --resume"


def read_saved_state(folder: Path) -> dict[str, Any]:
    """Return the trainer state of a complete checkpoint, as its JSON holds it.

    Raises:
        UserError: It cannot be read, or a newer version wrote it.
    """
    file = folder / run_folder.STATE
    try:
        state = run_folder.read_state(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}; {_CURE}") from error
    if not isinstance(state, dict):
        raise UserError(f"{file} holds a {type(state).__name__}; it must be an object; {_CURE}")
    if faults := list(_faults(state)):
        raise UserError(f"{file} cannot be used: {'; '.join(faults)}; {_CURE}")
    return state


def _faults(state: dict[str, Any]) -> Iterator[str]:
    newest = run_folder.STATE_FORMAT
    version = state.get("format", newest)
    if not isinstance(version, int) or version > newest:
        yield f"its format is {version!r}; this version reads formats up to {newest}"
        return
    for name, kind in _KINDS.items():
        yield from _fault_of(state, name, kind)
    progress = state.get("progress")
    if not isinstance(progress, dict):
        return
    known = {name: _json_type(hint) for name, hint in get_type_hints(TrainState).items()}
    for name, kind in known.items():
        if name in progress or name in _ALWAYS:
            yield from _fault_of(progress, name, kind, within="progress.")
    for part in (progress, progress.get("before_streak")):
        for name in sorted(part.keys() - known.keys()) if isinstance(part, dict) else ():
            yield f"progress has {name!r}, which this version does not know"


def _json_type(hint: Any) -> type:
    """Return what JSON makes of a field with this annotation, such as `dict[str, Any] | None`."""
    first = get_args(hint)[0] if isinstance(hint, UnionType) else hint
    return get_origin(first) or first


def _fault_of(table: dict[str, Any], name: str, kind: type, within: str = "") -> Iterator[str]:
    if name not in table:
        yield f"it lacks {within}{name}"
    elif not isinstance(table[name], kind) or isinstance(table[name], bool):
        yield f"{within}{name} is {table[name]!r}; it must be of type {kind.__name__}"
    elif kind is int and table[name] < 0:
        yield f"{within}{name} is {table[name]}; it must be 0 or more"
