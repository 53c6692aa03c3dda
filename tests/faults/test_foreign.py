"""Foreign files are what their kind says, and can be removed."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpt2zh.files import run_folder
from tests.faults.foreign import plant


def write_checkpoints(run: Path, *steps: int) -> None:
    """Checkpoints of a model of one number."""
    for step in steps:
        folder = run_folder.begin(run, step)
        for name in ("model.safetensors", "optimizer-00000-of-00001.safetensors"):
            save_file({"weight": torch.full((1,), float(step))}, folder / name)
        entries = run_folder.make_entries(folder.iterdir())
        run_folder.commit(folder, run_folder.checkpoint_path(run, step), entries)


def test_a_run_without_checkpoints_gets_files_in_its_folder(tmp_path: Path) -> None:
    foreign = plant(tmp_path / "run", random.Random(1))
    assert foreign.kind == "files in the run folder"
    assert all(path.parent == tmp_path / "run" and path.is_file() for path in foreign.paths)


def test_every_kind_leaves_the_listed_files_as_they_are(tmp_path: Path) -> None:
    kinds = set()
    for seed in range(40):
        run = tmp_path / str(seed)
        run.mkdir()
        write_checkpoints(run, 3, 6)
        before = {path for path in run.rglob("*")}
        foreign = plant(run, random.Random(seed))
        kinds.add(foreign.kind)
        assert all(path.exists() and path not in before for path in foreign.paths)
        for step in (3, 6):
            path = run_folder.checkpoint_path(run, step)
            listed = run_folder.list_files(path)
            assert listed == {"model.safetensors", "optimizer-00000-of-00001.safetensors"}
            assert not any(
                name in str(run_folder.find_faults(path, content=True)) for name in listed
            )
        assert foreign.is_named_in(f"{foreign.paths[0]} is not listed")
        assert not foreign.is_named_in("another error")
        foreign.remove()
        assert {path for path in run.rglob("*")} == before
    assert kinds == {"another optimizer file", "other weights", "desktop", "rsync", "copies"}


def test_the_tensors_of_a_foreign_file_are_others(tmp_path: Path) -> None:
    for number, steps in enumerate(((6,), (3, 6))):
        run = tmp_path / str(number)
        run.mkdir()
        write_checkpoints(run, *steps)
        found = None
        for seed in range(40):
            foreign = plant(run, random.Random(seed))
            if foreign.kind in ("another optimizer file", "other weights"):
                found = load_file(foreign.paths[0])["weight"].item()
                assert found != 6.0
            foreign.remove()
        assert found is not None
