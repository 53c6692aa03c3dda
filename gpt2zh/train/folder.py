"""Checkpoint folders as files: complete or not, which is newest, which may go. No torch.

A checkpoint is written under a temporary name; the manifest, which holds the size and sha256 of
every file, is written last, then the folder is renamed. So `checkpoint-<step>` is complete when
its manifest is there and every file has the size that it tells.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from gpt2zh.config.errors import UserError
from gpt2zh.data.checksum import file_sha256

MANIFEST = "manifest.json"
STATE = "trainer_state.json"
LOCK = ".lock"
_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoint_path(run: Path, step: int) -> Path:
    """The folder of the checkpoint of one step."""
    return run / f"checkpoint-{step}"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Steps and folders that have a checkpoint's name, oldest first, complete or not."""
    if not run.is_dir():
        return []
    found = ((_NAME.fullmatch(entry.name), entry) for entry in run.iterdir() if entry.is_dir())
    return sorted((int(match.group(1)), entry) for match, entry in found if match)


def faults(folder: Path, *, content: bool) -> list[str]:
    """What is wrong with a checkpoint; nothing if it is complete.

    Args:
        folder: The checkpoint.
        content: Also compare every sha256, which reads all files.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        expected = {str(k): (int(v["bytes"]), str(v["sha256"])) for k, v in files.items()}
    except OSError:
        return [f"{folder} has no {MANIFEST}"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{folder / MANIFEST} is damaged"]
    found = []
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != size:
            found.append(f"{path} has {path.stat().st_size} bytes, should have {size}")
        elif content and file_sha256(path) != digest:
            found.append(f"{path} was altered: its sha256 differs from the manifest's")
    return found


def newest_complete(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose every byte is right, and what is wrong with newer ones.

    Raises:
        UserError: There are checkpoints, but none is complete: to begin anew would bury them.
    """
    rejected: list[str] = []
    for _, folder in reversed(checkpoints(run)):
        wrong = faults(folder, content=True)
        if not wrong:
            return folder, rejected
        rejected += wrong
    if rejected:
        raise UserError(
            f"{run} holds checkpoints but none that is complete: {'; '.join(rejected)}. Restore "
            "one, move them away, or use another --output"
        )
    return None, rejected


def require_complete(folder: Path) -> None:
    """Refuse a folder that is no complete checkpoint.

    Raises:
        UserError: With what is wrong and which checkpoints would do.
    """
    wrong = faults(folder, content=True)
    if not wrong:
        return
    near = [*checkpoints(folder), *checkpoints(folder.parent)]
    others = [str(path) for _, path in near if path != folder and not faults(path, content=False)]
    cure = f"complete ones there: {', '.join(others)}" if others else "none is complete there"
    raise UserError(f"--resume {folder} is no complete checkpoint: {'; '.join(wrong)}. {cure}")


def read_state(folder: Path) -> dict[str, Any]:
    """The trainer state of a complete checkpoint."""
    return json.loads((folder / STATE).read_text("utf-8"))


def describe(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Bring files to disk and return the manifest's entries of them, by file name."""
    entries = {}
    for path in paths:
        _sync(path)
        entries[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    return entries


def writing_path(run: Path, step: int) -> Path:
    """The folder that a checkpoint is written in before it has its name."""
    return run / f".checkpoint-{step}.writing"


def begin(run: Path, step: int) -> Path:
    """Make the temporary folder of a new checkpoint, empty, and return it."""
    temporary = writing_path(run, step)
    discard(temporary)
    temporary.mkdir(parents=True)
    return temporary


def discard(temporary: Path) -> None:
    """Delete what was written of a checkpoint that will not be."""
    shutil.rmtree(temporary, ignore_errors=True)


def commit(temporary: Path, final: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Write the manifest last, bring it to disk and give the folder its name."""
    manifest = temporary / MANIFEST
    manifest.write_text(json.dumps({"format": 1, "files": entries}, indent=1), "utf-8")
    _sync(manifest)
    _sync(temporary)
    if final.exists():  # of a run that went another way from an older checkpoint
        _set_aside(final)
    os.replace(temporary, final)
    _sync(final.parent)


def set_aside_newer(run: Path, step: int) -> list[Path]:
    """Rename checkpoints beyond `step`, which a run that goes back to it would contradict."""
    return [_set_aside(folder) for number, folder in checkpoints(run) if number > step]


def _set_aside(folder: Path) -> Path:
    """Give a checkpoint a name that no reader takes for one, and lose nothing."""
    target, count = folder.with_name(f"superseded-{folder.name}"), 1
    while target.exists():
        count += 1
        target = folder.with_name(f"superseded-{folder.name}.{count}")
    return folder.rename(target)


def hold(run: Path) -> TextIO:
    """Make the run folder ours while the returned file stays open, or until the process ends.

    Raises:
        UserError: Another process writes to it.
    """
    run.mkdir(parents=True, exist_ok=True)
    lock = (run / LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "an unknown process"
        lock.close()
        raise UserError(
            f"{run} is being written by {owner}; wait until it has ended, or use another --output"
        ) from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {platform.node()}\n")
    lock.flush()
    return lock


def prune(run: Path, *, keep_last: int, keep_every: int) -> None:
    """Delete checkpoints but the newest `keep_last` complete ones and each multiple of a period."""
    complete = [(step, path) for step, path in checkpoints(run) if not faults(path, content=False)]
    for step, folder in complete[:-keep_last]:
        if not (keep_every and step % keep_every == 0):
            # A name that no reader takes for a checkpoint, for deleting takes a while.
            doomed = run / f".{folder.name}.deleting"
            with contextlib.suppress(OSError):
                folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
    for left in run.glob(".checkpoint-*"):  # by a run that was killed while it wrote or deleted
        shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
