"""Put files into a run folder and its newest checkpoint that the run has not written.

People copy two checkpoints into one folder, desktops leave their own files everywhere, and rsync
writes under temporary names. None of them may change a number.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpt2zh.files import run_folder

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Foreign:
    """What was put there."""

    kind: str
    paths: tuple[Path, ...]

    def is_named_in(self, text: str) -> bool:
        """Return whether a message names one of the files."""
        return any(path.name in text for path in self.paths)

    def remove(self) -> None:
        """Delete what is left of it."""
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def plant(run: Path, rng: random.Random) -> Foreign:
    """Put foreign files of a random kind into a run folder, which need not exist yet."""
    run.mkdir(exist_ok=True)
    complete = [
        path
        for _, path in run_folder.list_checkpoints(run)
        if not run_folder.find_faults(path, content=True)
    ]
    if not complete:
        names = [".DS_Store", "._config.yaml", "nohup.out", ".checkpoint-8.aB3x"]
        return Foreign("files in the run folder", tuple(_note(run / name) for name in names))
    newest, older = complete[-1], complete[-2] if len(complete) > 1 else None
    kind = rng.choice(("another optimizer file", "other weights", "desktop", "rsync", "copies"))
    if kind == "another optimizer file":
        source = sorted((older or newest).glob("optimizer-*.safetensors"))
        tensors = {name: t for path in source for name, t in load_file(path).items()}
        paths = [_write(newest / "optimizer-00002-of-00003.safetensors", tensors, older)]
    elif kind == "other weights":
        tensors = load_file((older or newest) / _WEIGHTS)
        paths = [_write(newest / "optimizer-99999-of-99999.safetensors", tensors, older)]
    elif kind == "desktop":
        names = [".DS_Store", f"._{_WEIGHTS}", "Thumbs.db", "desktop.ini"]
        paths = [_note(folder / name) for folder in (run, newest) for name in names]
    elif kind == "rsync":
        paths = [_note(run / ".checkpoint-8.aB3x"), _note(newest / f".{_WEIGHTS}.Xy12ab")]
        paths.append(_note(newest / ".optimizer-00000-of-00002.safetensors.q8Zt0p"))
        partial = run / ".~tmp~" / newest.name
        shutil.copytree(newest, partial)
        paths.append(partial.parent)
    else:
        paths = [run / f"{newest.name} (copy)", run / f"{newest.name}.bak"]
        for path in paths:
            shutil.copytree(newest, path)
        paths.append(_note(run / "checkpoint-99999"))
    return Foreign(kind, tuple(paths))


def _write(path: Path, tensors: dict[str, torch.Tensor], older: Path | None) -> Path:
    """Write tensors, which are others than those of the newest checkpoint."""
    save_file({name: t if older else t * 0.5 + 1e-3 for name, t in tensors.items()}, path)
    return path


def _note(path: Path) -> Path:
    path.write_bytes(b"\0\0\0\1Bud1 not of this run\n")
    return path
