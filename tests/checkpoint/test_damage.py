"""Every file of a real checkpoint, damaged in every way: noticed, named, and the one before taken.

And how it comes that a crash of the machine damages none: the order in which bytes reach the disk.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import tiny_facts, write_checkpoint

from gpt2zh.checkpoint.checkpoint import RunFacts
from gpt2zh.files import run_folder

FILES = [
    "config.json",
    "generation_config.json",
    "identity.json",
    "manifest.json",
    "model.safetensors",
    "optimizer-00000-of-00002.safetensors",
    "optimizer-00001-of-00002.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer_state.json",
]


@pytest.fixture(scope="module")
def facts(tiny_vocabulary: Path) -> RunFacts:
    return tiny_facts(tiny_vocabulary)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, facts: RunFacts) -> Path:
    """A run with the checkpoints 5 and 6, which no test changes."""
    run = tmp_path_factory.mktemp("damage") / "run"
    for step in (5, 6):
        write_checkpoint(run, step, facts)
    return run


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def flipped(place: float, bit: int) -> Callable[[Path], None]:
    """Flip one bit of the byte at a share of the file."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[round(place * (len(data) - 1))] ^= 1 << bit
        path.write_bytes(data)

    return damage


def shortened(count: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, count(path.stat().st_size))


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = {
    "one byte short": shortened(lambda size: size - 1),
    "half": shortened(lambda size: size // 2),
    "empty": shortened(lambda size: 0),
    "one byte more": grown,
    "missing": Path.unlink,
    "a folder": replaced_by_a_folder,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    **{
        f"bit {bit} at {place:.0%}": flipped(place, bit)
        for place, bit in ((0.0, 0), (0.0, 7), (0.01, 3), (0.5, 5), (0.7, 1), (1.0, 0), (1.0, 6))
    },
}


def test_the_files_are_those_of_a_real_checkpoint(written: Path) -> None:
    for step in (5, 6):
        checkpoint = run_folder.checkpoint_path(written, step)
        assert sorted(path.name for path in checkpoint.iterdir()) == FILES
        assert run_folder.find_faults(checkpoint, content=True) == []
    assert sorted(path.name for path in written.iterdir()) == ["checkpoint-5", "checkpoint-6"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_of_any_file_is_noticed_and_the_checkpoint_before_is_taken(
    run: Path, name: str, damage: Callable[[Path], None]
) -> None:
    newest = run_folder.checkpoint_path(run, 6)
    damage(newest / name)
    (told,) = run_folder.find_faults(newest, content=True)
    assert name in told and str(newest) in told
    assert run_folder.newest_complete(run) == (run_folder.checkpoint_path(run, 5), [told])


def test_files_of_two_checkpoints_are_not_taken_for_one(run: Path) -> None:
    """Equal sizes, and each file by itself is fine."""
    older, newer = run_folder.checkpoint_path(run, 5), run_folder.checkpoint_path(run, 6)
    for name in FILES:
        if (older / name).read_bytes() != (newer / name).read_bytes():
            kept = (newer / name).read_bytes()
            shutil.copy(older / name, newer / name)
            assert run_folder.find_faults(newer, content=True), name
            (newer / name).write_bytes(kept)
    assert run_folder.find_faults(newer, content=True) == []


@pytest.mark.slow
def test_no_flipped_bit_of_a_manifest_goes_unnoticed(run: Path) -> None:
    """Not even in a name, a size or a space: it is told before any other file is read."""
    checkpoint = run_folder.checkpoint_path(run, 6)
    manifest = checkpoint / run_folder.MANIFEST
    whole = manifest.read_bytes()
    overlooked = []
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            manifest.write_bytes(data)
            if run_folder.find_faults(checkpoint, content=False) != [f"{manifest} is damaged"]:
                overlooked.append((place, bit))
    assert not overlooked


def test_a_disk_that_cannot_read_a_file_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file_sha256(path: Path) -> str:
        if path.name == "model.safetensors" and path.parent.name == "checkpoint-6":
            raise OSError(5, "Input/output error", str(path))
        return whole(path)

    whole = run_folder.file_sha256
    monkeypatch.setattr(run_folder, "file_sha256", file_sha256)
    found, (told,) = run_folder.newest_complete(run)
    assert found == run_folder.checkpoint_path(run, 5)
    assert told.endswith("checkpoint-6/model.safetensors cannot be read: Input/output error")


class Disk:
    """What was brought to disk, and what stood there when a folder got its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Path, str]] = []
        """`synced` or `renamed`, the path, and a digest of what it held."""
        self.at_rename: dict[Path, str] = {}
        """Digests of the files and the list of names, by the names before the renaming."""
        fsync, replace, rename = os.fsync, os.replace, os.rename

        def recorded(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)
            self.events.append(("synced", path, self.digest(path)))

        def moving(move: Callable[..., None]) -> Callable[..., None]:
            def moved(source: Path, target: Path) -> None:
                if Path(target).name == "checkpoint-7":
                    content = [Path(source), *Path(source).rglob("*")]
                    self.at_rename |= {path: self.digest(path) for path in content}
                move(source, target)
                self.events.append(("renamed", Path(target), ""))

            return moved

        monkeypatch.setattr(os, "fsync", recorded)
        monkeypatch.setattr(os, "replace", moving(replace))
        monkeypatch.setattr(os, "rename", moving(rename))

    @staticmethod
    def digest(path: Path) -> str:
        if path.is_dir():
            return " ".join(sorted(entry.name for entry in path.iterdir()))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def position(self, kind: str, path: Path, digest: str) -> int:
        """The place of an event, which must have been."""
        assert (kind, path, digest) in self.events, f"{path} was not {kind} as it is"
        return self.events.index((kind, path, digest))


def test_a_checkpoint_has_its_name_only_when_every_byte_is_on_the_disk(
    tmp_path: Path, facts: RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a file may lack whatever was not synced, and a folder its newest names."""
    run = tmp_path / "run"
    disk = Disk(monkeypatch)
    final = write_checkpoint(run, 7, facts)
    temporary = run_folder.writing_path(run, 7)
    named = disk.position("renamed", final, "")
    assert sorted(path.name for path in disk.at_rename if path != temporary) == FILES
    synced = {
        path: disk.position("synced", path, digest) for path, digest in disk.at_rename.items()
    }
    assert max(synced.values()) < named
    manifest = synced.pop(temporary / run_folder.MANIFEST)
    listing = synced.pop(temporary)
    assert max(synced.values()) < manifest < listing
    assert disk.position("synced", run, "checkpoint-7") > named


def test_a_checkpoint_is_never_written_under_its_name(
    tmp_path: Path, facts: RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    commit = run_folder.commit

    def committed(temporary: Path, final: Path, entries: dict) -> None:
        seen.append(final.exists())
        assert run_folder.newest_complete(tmp_path) == (None, [])  # nobody takes it for one
        commit(temporary, final, entries)

    monkeypatch.setattr(run_folder, "commit", committed)
    final = write_checkpoint(tmp_path, 7, facts)
    assert seen == [False] and run_folder.newest_complete(tmp_path) == (final, [])
