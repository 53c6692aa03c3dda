"""Checkpoint folders: complete or not, which is newest, which may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_checkpoints import cut, flip_byte, make, names

from gpt2zh.config.errors import UserError
from gpt2zh.files import run_folder


def manifest(text: str) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / "manifest.json").write_text(text, "utf-8") and None


DAMAGE = {
    "no manifest": (lambda c: (c / "manifest.json").unlink(), "has no manifest.json"),
    "half a manifest": (manifest('{"files": {"mod'), "manifest.json is damaged"),
    "no file list": (manifest('{"format": 1}'), "manifest.json is damaged"),
    "truncated": (cut, "has 99 bytes, should have 100"),
    "altered byte": (flip_byte, "was altered: its sha256 differs"),
    "missing file": (lambda c: (c / run_folder.STATE).unlink(), f"{run_folder.STATE} is missing"),
    "a list": (manifest("[]"), "manifest.json is damaged"),
    "files a list": (manifest('{"files": []}'), "manifest.json is damaged"),
    "no sizes": (manifest('{"files": {"model.safetensors": {}}}'), "manifest.json is damaged"),
}
damages = pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)


def test_a_written_checkpoint_is_complete_and_leaves_no_temporary_names(tmp_path: Path) -> None:
    checkpoint = make(tmp_path / "run", 7)
    assert names(tmp_path / "run") == ["checkpoint-7"]
    assert names(checkpoint) == ["manifest.json", "model.safetensors", run_folder.STATE]
    assert run_folder.find_faults(checkpoint, content=True) == []
    run_folder.require_complete(checkpoint)
    assert run_folder.read_state(checkpoint) == {"step": 7}


@damages
def test_damage_is_found_and_named(
    tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    checkpoint = make(tmp_path, 7)
    damage(checkpoint)
    (found,) = run_folder.find_faults(checkpoint, content=True)
    assert str(checkpoint) in found and told in found


def test_an_altered_byte_is_only_seen_when_all_is_read(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 7)
    flip_byte(checkpoint)
    assert run_folder.find_faults(checkpoint, content=False) == []


def test_several_faults_are_all_named(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 7)
    cut(checkpoint)
    (checkpoint / run_folder.STATE).unlink()
    assert len(run_folder.find_faults(checkpoint, content=True)) == 2


def test_checkpoints_are_ordered_by_number_and_other_names_are_none(tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-100", "checkpoint-x", "old"):
        (tmp_path / name).mkdir()
    for name in (".checkpoint-5.writing", ".checkpoint-4.deleting", "superseded-checkpoint-3"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-8").write_text("a file")
    assert [step for step, _ in run_folder.list_checkpoints(tmp_path)] == [9, 10, 100]
    assert run_folder.list_checkpoints(tmp_path / "missing") == []


@damages
def test_a_damaged_newest_one_falls_back_and_is_named(
    tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    good, bad = make(tmp_path, 9), make(tmp_path, 10)
    damage(bad)
    newest, rejected = run_folder.newest_complete(tmp_path)
    assert newest == good
    assert len(rejected) == 1 and str(bad) in rejected[0] and told in rejected[0]


def test_newest_of_nothing_is_none(tmp_path: Path) -> None:
    assert run_folder.newest_complete(tmp_path / "missing") == (None, [])


def test_a_run_with_nothing_but_damaged_checkpoints_does_not_begin_anew(tmp_path: Path) -> None:
    cut(make(tmp_path, 3))
    (tmp_path / "checkpoint-5").mkdir()  # of another program: Hugging Face names its ones so, too
    with pytest.raises(UserError) as caught:
        run_folder.newest_complete(tmp_path)
    message = str(caught.value)
    assert "checkpoint-5 has no manifest.json" in message and "checkpoint-3" in message
    assert "use another --output" in message


@damages
def test_an_incomplete_one_is_refused_with_those_that_would_do(
    tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    good, bad, also = make(tmp_path, 5), make(tmp_path, 10), make(tmp_path, 15)
    damage(bad)
    with pytest.raises(UserError) as caught:
        run_folder.require_complete(bad)
    message = str(caught.value)
    assert message.startswith(f"--resume {bad} is not a complete checkpoint") and told in message
    assert f"use one of: {good}, {also}" in message


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no complete one is near it"):
        run_folder.require_complete(tmp_path / "run" / "checkpoint-1")


def test_a_checkpoint_of_the_same_step_is_set_aside_and_not_lost(tmp_path: Path) -> None:
    cut(make(tmp_path, 7))
    assert run_folder.find_faults(make(tmp_path, 7), content=True) == []
    assert names(tmp_path) == ["checkpoint-7", "superseded-checkpoint-7"]


def test_begin_clears_what_a_killed_run_left_of_the_same_step(tmp_path: Path) -> None:
    (run_folder.begin(tmp_path, 7) / "half").write_text("x")
    assert names(run_folder.begin(tmp_path, 7)) == []


def test_newer_ones_are_set_aside_and_none_is_lost(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        make(tmp_path, step)
    assert run_folder.set_aside_newer(tmp_path, 2) == [tmp_path / "superseded-checkpoint-3"]
    make(tmp_path, 3)
    assert run_folder.set_aside_newer(tmp_path, 1) == [
        tmp_path / "superseded-checkpoint-2",
        tmp_path / "superseded-checkpoint-3.2",
    ]
    assert names(tmp_path) == [
        "checkpoint-1",
        "superseded-checkpoint-2",
        "superseded-checkpoint-3",
        "superseded-checkpoint-3.2",
    ]
    assert run_folder.set_aside_newer(tmp_path, 1) == []
    assert run_folder.newest_complete(tmp_path)[0] == tmp_path / "checkpoint-1"
