"""Delete checkpoints of a run folder: old ones, and what is half written. Does not import torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from gpt2zh.files.removal import DELETING, delete_folder
from gpt2zh.files.run_folder import find_faults, list_checkpoints

MINIMUM = 2
"""Number of valid checkpoints that are never deleted."""


def prune(
    run: Path, *, keep_last: int, keep_every: int, pinned: Collection[int] = frozenset()
) -> None:
    """Delete old checkpoints.

    At least two whose bytes are all correct stay, even if newer ones are damaged.

    Args:
        run: The run folder.
        keep_last: How many of the newest complete checkpoints stay.
        keep_every: Checkpoints at multiples of this step stay; 0 for none.
        pinned: Steps whose checkpoints stay in any case.

    Raises:
        OSError: Some cannot be deleted; the others are.
    """
    complete = [
        (step, path) for step, path in list_checkpoints(run) if not find_faults(path, content=False)
    ]
    doomed = [
        path
        for step, path in complete[:-keep_last]
        if step not in pinned and not (keep_every and step % keep_every == 0)
    ]
    kept = [path for _, path in reversed(complete) if path not in doomed]
    valid = 0
    for path in [*kept, *reversed(doomed)]:
        if valid == MINIMUM or not doomed:
            break
        if not find_faults(path, content=True):
            valid += 1
            if path in doomed:
                doomed.remove(path)
    _delete_all([*doomed, *run.glob(f".checkpoint-*{DELETING}")])


def sweep(run: Path) -> None:
    """Delete what a killed run has left half written or half deleted.

    Raises:
        OSError: Some of it cannot be deleted; the rest is.
    """
    _delete_all(list(run.glob(".checkpoint-*")))


def delete_newer(run: Path, step: int) -> None:
    """Delete the checkpoints after `step`, the newest first.

    Raises:
        OSError: One cannot be deleted.
    """
    for number, folder in reversed(list_checkpoints(run)):
        if number > step:
            delete_folder(folder)


def _delete_all(folders: Sequence[Path]) -> None:
    """Delete folders; report those that cannot be deleted after trying all."""
    failures: dict[str, OSError] = {}
    for folder in folders:
        try:
            delete_folder(folder)
        except OSError as error:
            failures[folder.name] = error
    if failures:
        first = next(iter(failures.values()))
        names = ", ".join(sorted(failures))
        raise OSError(first.errno, f"{names}: {first.strerror or first}")
