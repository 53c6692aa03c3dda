"""Checkpoint folders as files: complete or not, which is newest, which may go. No torch.

A checkpoint is written under a temporary name; the manifest, which holds the size and sha256 of
every file, is written last, then the folder is renamed. So `checkpoint-<step>` is complete when
its manifest is there and every file has the size that it tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from gpt2zh.config.errors import UserError
from gpt2zh.files.checksum import file_sha256

MANIFEST = "manifest.json"
STATE = "trainer_state.json"
MINIMUM = 2
"""Valid checkpoints that are never deleted."""
_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoint_path(run: Path, step: int) -> Path:
    """The folder of the checkpoint of one step."""
    return run / f"checkpoint-{step}"


def list_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Steps and folders that have a checkpoint's name, oldest first, complete or not."""
    if not run.is_dir():
        return []
    found = ((_NAME.fullmatch(entry.name), entry) for entry in run.iterdir() if entry.is_dir())
    return sorted((int(match.group(1)), entry) for match, entry in found if match)


def parse_step(folder: Path) -> int | None:
    """The step that the name of a checkpoint's folder tells; None if it has another name."""
    match = _NAME.fullmatch(folder.resolve().name)
    return int(match.group(1)) if match else None


def list_files(folder: Path) -> set[str]:
    """The files of a complete checkpoint, as its manifest names them."""
    return set(json.loads((folder / MANIFEST).read_text("utf-8"))["files"])


def find_faults(folder: Path, *, content: bool) -> list[str]:
    """What is wrong with a checkpoint; nothing if it is complete.

    Args:
        folder: The checkpoint.
        content: Also compare every sha256, which reads all files.
    """
    try:
        text = (folder / MANIFEST).read_text("utf-8")
        files = json.loads(text)["files"]
        expected = {str(k): (int(v["bytes"]), str(v["sha256"])) for k, v in files.items()}
        intact = text == _manifest_text(files) or json.loads(text)["format"] == 1
    except OSError:
        return [f"{folder} has no {MANIFEST}"]
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        return [f"{folder / MANIFEST} is damaged"]
    found = []
    for name, (size, digest) in expected.items():
        path = folder / name
        try:
            if not path.is_file():
                found.append(f"{path} is missing")
            elif path.stat().st_size != size:
                found.append(f"{path} has {path.stat().st_size} bytes, should have {size}")
            elif content and file_sha256(path) != digest:
                found.append(f"{path} was altered: its sha256 differs from the manifest's")
        except OSError as error:  # a disk that cannot read it
            found.append(f"{path} cannot be read: {error.strerror}")
    return found


def _manifest_text(files: dict[str, Any]) -> str:
    """The one text of a manifest: with its own digest, so that no changed bit goes unnoticed."""
    listed = json.dumps(files, indent=1, sort_keys=True)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return json.dumps({"format": 2, "files": files, "sha256": digest}, indent=1, sort_keys=True)


def newest_complete(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose every byte is right, and what is wrong with newer ones.

    Raises:
        UserError: There are checkpoints, but none is complete: to begin anew would bury them.
    """
    rejected: list[str] = []
    for _, folder in reversed(list_checkpoints(run)):
        wrong = find_faults(folder, content=True)
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
    wrong = find_faults(folder, content=True)
    if not wrong:
        return
    near = [*list_checkpoints(folder), *list_checkpoints(folder.parent)]
    others = [
        str(path) for _, path in near if path != folder and not find_faults(path, content=False)
    ]
    cure = f"complete ones there: {', '.join(others)}" if others else "none is complete there"
    raise UserError(f"--resume {folder} is no complete checkpoint: {'; '.join(wrong)}. {cure}")


def read_state(folder: Path) -> dict[str, Any]:
    """The trainer state of a complete checkpoint."""
    return json.loads((folder / STATE).read_text("utf-8"))


def make_entries(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
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
    manifest.write_text(_manifest_text(entries), "utf-8")
    _sync(manifest)
    _sync(temporary)
    if final.exists():  # of a run that went another way from an older checkpoint
        _set_aside(final)
    os.replace(temporary, final)
    _sync(final.parent)


def set_aside_newer(run: Path, step: int) -> list[Path]:
    """Rename checkpoints beyond `step`, which a run that goes back to it would contradict."""
    return [_set_aside(folder) for number, folder in list_checkpoints(run) if number > step]


def _set_aside(folder: Path) -> Path:
    """Give a checkpoint a name that no reader takes for one, and lose nothing."""
    target, count = folder.with_name(f"superseded-{folder.name}"), 1
    while target.exists():
        count += 1
        target = folder.with_name(f"superseded-{folder.name}.{count}")
    return folder.rename(target)


def prune(
    run: Path, *, keep_last: int, keep_every: int, pinned: Collection[int] = frozenset()
) -> None:
    """Delete checkpoints, except those that are to be kept.

    At least two whose every byte is right stay, even if disks have ruined newer ones.

    Args:
        run: The run folder.
        keep_last: The newest complete ones that stay, in number.
        keep_every: Multiples of so many steps stay; 0 for none.
        pinned: Steps whose checkpoints stay in any case.
    """
    complete = [
        (step, path) for step, path in list_checkpoints(run) if not find_faults(path, content=False)
    ]
    doomed = [
        path
        for step, path in complete[:-keep_last]
        if step not in pinned and not (keep_every and step % keep_every == 0)
    ]
    if not doomed:
        return
    kept = [path for _, path in reversed(complete) if path not in doomed]
    valid = 0
    for path in [*kept, *reversed(doomed)]:
        if valid == MINIMUM:
            break
        if not find_faults(path, content=True):
            valid += 1
            if path in doomed:
                doomed.remove(path)
    for path in doomed:
        # A name that no reader takes for a checkpoint, for deleting takes a while.
        dying = run / f".{path.name}.deleting"
        with contextlib.suppress(OSError):
            path.rename(dying)
        shutil.rmtree(dying, ignore_errors=True)


def sweep(run: Path) -> None:
    """Delete what a killed run has left half written or half deleted."""
    for left in run.glob(".checkpoint-*"):
        shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
