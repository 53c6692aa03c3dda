"""Checkpoint folders as files: check, find, commit and delete them. Does not import torch.

A checkpoint is written under a temporary name. The manifest, which holds the size and sha256 of
every file, is written last; then the folder is renamed. So `checkpoint-<step>` is complete if it
has a manifest and every file has the size given there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpt2zh.config.errors import UserError
from gpt2zh.files.checksum import file_sha256
from gpt2zh.files.durable import sync
from gpt2zh.files.removal import move_folder

MANIFEST = "manifest.json"
STATE = "trainer_state.json"
STATE_FORMAT = 2
"""The format of the trainer state that this version writes, and the newest that it reads."""
_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return run / f"checkpoint-{step}"


def list_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Return step and folder of everything named like a checkpoint, oldest first."""
    if not run.is_dir():
        return []
    found = ((_NAME.fullmatch(entry.name), entry) for entry in run.iterdir() if entry.is_dir())
    return sorted((int(match.group(1)), entry) for match, entry in found if match)


def parse_step(folder: Path) -> int | None:
    """Return the step in a checkpoint folder's name; None if it has another name."""
    match = _NAME.fullmatch(folder.resolve().name)
    return int(match.group(1)) if match else None


def list_files(folder: Path) -> set[str]:
    """Return the names of the files in the manifest of a complete checkpoint."""
    return set(json.loads((folder / MANIFEST).read_text("utf-8"))["files"])


def find_unlisted(folder: Path) -> set[str]:
    """Return the names of files with tensors that are not in the manifest: nothing reads them."""
    return {path.name for path in folder.glob("*.safetensors")} - list_files(folder)


def find_faults(folder: Path, *, content: bool) -> list[str]:
    """Return what is wrong with a checkpoint; an empty list if it is complete.

    Args:
        folder: The checkpoint.
        content: Also compare every sha256, which reads all files.
    """
    try:
        text = (folder / MANIFEST).read_text("utf-8")
        files = json.loads(text)["files"]
        expected = {str(k): (int(v["bytes"]), str(v["sha256"])) for k, v in files.items()}
        intact = text == _manifest_text(files) or json.loads(text)["format"] == 1
    except (FileNotFoundError, NotADirectoryError):
        return [f"{folder} has no {MANIFEST}"]
    except OSError as error:
        return [f"{folder / MANIFEST} cannot be read: {error.strerror or error}"]
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
        except OSError as error:  # the disk cannot read it
            found.append(f"{path} cannot be read: {error.strerror}")
    return found


def _manifest_text(files: dict[str, Any]) -> str:
    """Return the text of a manifest, with its own digest so that any changed bit is found."""
    listed = json.dumps(files, indent=1, sort_keys=True)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return json.dumps({"format": 2, "files": files, "sha256": digest}, indent=1, sort_keys=True)


def newest_complete(run: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint whose bytes are all correct, and the faults of newer ones.

    Raises:
        UserError: There are checkpoints, but none is complete; a new start would hide them.
    """
    rejected: list[str] = []
    for _, folder in reversed(list_checkpoints(run)):
        wrong = find_faults(folder, content=True)
        if not wrong:
            return folder, rejected
        rejected += wrong
    if rejected:
        raise UserError(
            f"{run} has checkpoints, but none is complete: {'; '.join(rejected)}. Restore "
            "one, move them away, or use another --output"
        )
    return None, rejected


def require_complete(folder: Path) -> None:
    """Check that a folder is a complete checkpoint.

    Raises:
        UserError: It is not; with its faults, and the complete checkpoints near it.
    """
    wrong = find_faults(folder, content=True)
    if not wrong:
        return
    near = [*list_checkpoints(folder), *list_checkpoints(folder.parent)]
    others = [
        str(path) for _, path in near if path != folder and not find_faults(path, content=False)
    ]
    cure = f"use one of: {', '.join(others)}" if others else "no complete one is near it"
    raise UserError(f"--resume {folder} is not a complete checkpoint: {'; '.join(wrong)}; {cure}")


def read_state(folder: Path) -> dict[str, Any]:
    """Return the trainer state of a complete checkpoint, as its JSON holds it."""
    return json.loads((folder / STATE).read_text("utf-8"))


def make_entries(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Sync files to disk and return their manifest entries by file name."""
    entries = {}
    for path in paths:
        sync(path)
        entries[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    return entries


def writing_path(run: Path, step: int) -> Path:
    """Return the temporary folder in which a checkpoint is written."""
    return run / f".checkpoint-{step}.writing"


def begin(run: Path, step: int) -> Path:
    """Make the temporary folder of a new checkpoint, empty, and return it."""
    temporary = writing_path(run, step)
    discard(temporary)
    temporary.mkdir(parents=True)
    return temporary


def discard(temporary: Path) -> None:
    """Delete the files of a checkpoint that could not be written."""
    shutil.rmtree(temporary, ignore_errors=True)


def commit(temporary: Path, final: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Write the manifest, sync it to disk and rename the folder to its final name."""
    manifest = temporary / MANIFEST
    manifest.write_text(_manifest_text(entries), "utf-8")
    sync(manifest)
    sync(temporary)
    if final.exists():  # from before a resume from an older checkpoint
        _set_aside(final)
    os.replace(temporary, final)
    sync(final.parent)


def set_aside_newer(run: Path, step: int) -> list[Path]:
    """Rename the checkpoints after `step`, from which a run continues, and return the new paths."""
    return [_set_aside(folder) for number, folder in list_checkpoints(run) if number > step]


def _set_aside(folder: Path) -> Path:
    """Rename a checkpoint so that no reader takes it for one; keep its content."""
    target, count = folder.with_name(f"superseded-{folder.name}"), 1
    while target.exists():
        count += 1
        target = folder.with_name(f"superseded-{folder.name}.{count}")
    move_folder(folder, target)
    return target
