"""Damage a checkpoint as disks do: cut a file, flip a bit, empty a file, delete a file."""

from __future__ import annotations

import random
from pathlib import Path

from gpt2zh.files import run_folder

KINDS = ("truncated", "bit flipped", "emptied", "deleted")


def damage_newest(run: Path, rng: random.Random) -> str | None:
    """Damage one file of the newest checkpoint, if there is an older one to fall back to.

    Returns:
        The file and the damage; None if nothing was damaged.
    """
    complete = [
        path
        for _, path in run_folder.list_checkpoints(run)
        if not run_folder.find_faults(path, content=True)
    ]
    if len(complete) < 2:
        return None
    path = rng.choice(sorted(complete[-1].iterdir()))
    kind = rng.choice(KINDS)
    if kind == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(max(1, len(content)))])
    elif kind == "bit flipped":
        flipped = bytearray(path.read_bytes())
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
    elif kind == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
    return f"{path.parent.name}/{path.name} {kind}"
