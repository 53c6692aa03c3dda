"""A tiny run with several checkpoints, copies of it, and damage that leaves a valid manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpt2zh.__main__ import VERBS
from gpt2zh.config.verbs import run_verbs
from gpt2zh.files import run_folder as files


def arguments(shards: Path, output: Path, **more: object) -> list[str]:
    """The command line of a run of 9 steps in which 3, 6 and 9 are saved."""
    ds = output.parent / f"{output.name}.json"
    ds.write_text('{"zero_optimization": {"stage": 1}}')
    options = {
        "data": shards,
        "output": output,
        "deepspeed_config": ds,
        "model__layers": 2,
        "model__heads": 2,
        "model__width": 30,
        "model__context": 32,
        "model__dropout": 0.1,
        "train__steps": 9,
        "train__global_batch": 8,
        "train__micro_batch": 2,
        "optimizer__lr": 0.01,
        "optimizer__warmup_steps": 4,
        "log__every": 1,
        "validation__every": "4steps",
        "validation__sample_tokens": 4,
        "checkpoint__every": "3steps",
        **more,
    }
    return [f"--{name.replace('__', '.')}={value}" for name, value in options.items()]


def gpt2zh(*argv: object) -> int:
    """The exit code of the command, run in this process."""
    return run_verbs(prog="gpt2zh", description="", verbs=VERBS, argv=[str(word) for word in argv])


def copied(run: Path, to: Path) -> Path:
    """A copy of a run that a test may damage."""
    return Path(shutil.copytree(run, to))


def altered(
    checkpoint: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor | None]
) -> None:
    """Change or remove a tensor of a checkpoint, and write the manifest that suits it."""
    for path in sorted(checkpoint.glob("*.safetensors")):
        tensors = load_file(path)
        if name in tensors:
            new = change(tensors.pop(name))
            save_file(tensors | ({} if new is None else {name: new}), path, {"format": "pt"})
            return sealed(checkpoint)
    raise AssertionError(f"no file holds {name}")


def sealed(checkpoint: Path) -> None:
    """Write the manifest of the files as they are."""
    names = files.list_files(checkpoint)
    where = checkpoint.with_name("being-sealed")
    checkpoint.rename(where)
    files.commit(where, checkpoint, files.make_entries([where / name for name in sorted(names)]))


def restated(checkpoint: Path, **progress: object) -> None:
    """Change the trainer state of a checkpoint, and write the manifest that suits it."""
    path = checkpoint / files.STATE
    state = json.loads(path.read_text("utf-8"))
    state["progress"] |= progress
    path.write_text(json.dumps(state), "utf-8")
    sealed(checkpoint)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the last change of everything in a folder, itself included."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
    }
