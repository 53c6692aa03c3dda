"""One run writes to a folder: who else tries is refused, and the dead hold nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import LIMIT, wait_until

from gpt2zh.config.errors import UserError
from gpt2zh.files import lock
from gpt2zh.files.lock import LOCK, STOP, LostFolderError, RunLock

HOLD = """
import sys
from pathlib import Path
from gpt2zh.files.lock import RunLock
held = RunLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
held.release()
print("released", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock of `tmp_path / "run"` until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.communicate()


def elsewhere(run: Path, *, touched: float = 0.0) -> Path:
    """The file of an owner on another machine, touched so many seconds ago."""
    run.mkdir()
    path = run / LOCK
    path.write_text(json.dumps({"process": 77, "host": "node5", "since": "Monday"}), "utf-8")
    os.utime(path, (time.time() - touched,) * 2)
    return path


@contextlib.contextmanager
def beating(path: Path, behind: float = 0.0) -> Iterator[None]:
    """An owner that touches its file, by a clock that is so many seconds behind."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(0.2):
            os.utime(path, (time.time() - behind,) * 2)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        yield
    finally:
        ended.set()
        toucher.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "STALE", 2.0)
    monkeypatch.setattr(lock, "BEAT", 0.1)


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_owner_is_named(
    tmp_path: Path, other: subprocess.Popen
) -> None:
    with pytest.raises(UserError) as caught:
        RunLock(tmp_path / "run")
    message = str(caught.value)
    assert f"{tmp_path / 'run'} is in use by process {other.pid} on" in message
    assert platform.node() in message and "(since " in message
    assert f"wait until it has ended, stop it with `gpt2zh stop {tmp_path / 'run'}`" in message
    assert "or use another --output" in message


@pytest.mark.slow
def test_a_refusal_does_not_disturb_the_owner(tmp_path: Path, other: subprocess.Popen) -> None:
    before = (tmp_path / "run" / LOCK).read_text("utf-8")
    for _ in range(2):
        with pytest.raises(UserError, match=f"by process {other.pid} on"):
            RunLock(tmp_path / "run")
    assert (tmp_path / "run" / LOCK).read_text("utf-8") == before


@pytest.mark.slow
def test_a_killed_owner_leaves_no_lock(tmp_path: Path, other: subprocess.Popen) -> None:
    other.kill()
    other.wait()
    begun = time.monotonic()
    RunLock(tmp_path / "run").release()
    assert time.monotonic() - begun < lock.STALE  # nothing is waited for


@pytest.mark.slow
def test_a_released_lock_is_free_while_the_process_lives(
    tmp_path: Path, other: subprocess.Popen
) -> None:
    other.stdin.write("\n")
    other.stdin.flush()
    assert other.stdout.readline().strip() == "released"
    held = RunLock(tmp_path / "run")
    assert json.loads((tmp_path / "run" / LOCK).read_text("utf-8"))["process"] == os.getpid()
    held.release()


def test_folders_have_locks_of_their_own(tmp_path: Path) -> None:
    held = [RunLock(tmp_path / "deep" / name) for name in ("a", "b")]
    for one in held:
        one.release()


def test_the_owner_touches_its_file(tmp_path: Path, quick: None) -> None:
    held = RunLock(tmp_path)
    first = (tmp_path / LOCK).stat().st_mtime_ns
    wait_until(lambda: (tmp_path / LOCK).stat().st_mtime_ns > first)
    held.release()
    left = [thread.name for thread in threading.enumerate() if thread.name == "run-lock"]
    assert not left


def test_an_owner_on_another_machine_that_still_touches_is_respected(
    tmp_path: Path, quick: None
) -> None:
    path = elsewhere(tmp_path / "run")
    with beating(path), pytest.raises(UserError, match=r"process 77 on node5 \(since Monday\)"):
        RunLock(tmp_path / "run")
    assert json.loads(path.read_text("utf-8"))["process"] == 77


@pytest.mark.slow
def test_an_owner_on_another_machine_that_touches_no_more_is_succeeded(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture
) -> None:
    path = elsewhere(tmp_path / "run")
    begun = time.monotonic()
    held = RunLock(tmp_path / "run")
    assert time.monotonic() - begun >= lock.STALE  # its clock may be ahead of ours
    assert "node5" in capsys.readouterr().out
    assert json.loads(path.read_text("utf-8"))["host"] == platform.node()
    held.release()


@pytest.mark.parametrize("behind", [200.0, 86400.0, -86400.0])
def test_an_owner_whose_clock_is_wrong_is_respected_while_it_touches(
    tmp_path: Path, quick: None, behind: float, capsys: pytest.CaptureFixture
) -> None:
    """Clocks of two machines differ by minutes; only a change that we see counts."""
    path = elsewhere(tmp_path / "run", touched=behind)
    with beating(path, behind), pytest.raises(UserError, match="process 77 on node5"):
        RunLock(tmp_path / "run")
    assert "watching for up to 2 s whether it is alive" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00\x00"])
def test_a_file_that_names_nobody_is_no_owner(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content, "utf-8")
    held = RunLock(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text("utf-8"))["process"] == os.getpid()
    held.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_disk_without_locks_touching_tells_even_on_this_machine(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    held = RunLock(tmp_path)
    with pytest.raises(UserError, match=f"process {os.getpid()} on {platform.node()}"):
        RunLock(tmp_path)
    held.release()
    RunLock(tmp_path).release()


def test_a_folder_that_was_renamed_and_started_again_is_lost_to_the_first_run(
    tmp_path: Path,
) -> None:
    first = RunLock(tmp_path / "run")
    first.check()
    (tmp_path / "run").rename(tmp_path / "old")
    with pytest.raises(LostFolderError, match="moved, deleted or replaced"):
        first.check()
    second = RunLock(tmp_path / "run")
    with pytest.raises(LostFolderError, match=rf"process {os.getpid()} on .* uses it now"):
        first.check()
    second.check()
    first.release()
    assert json.loads((tmp_path / "run" / LOCK).read_text("utf-8"))["process"] == os.getpid()
    second.release()


def test_a_lock_file_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    held = RunLock(tmp_path)
    (tmp_path / LOCK).unlink()
    held.check()
    with pytest.raises(UserError, match="is in use by process"):
        RunLock(tmp_path)
    held.check()
    held.release()


def test_a_lock_file_that_was_deleted_and_taken_is_lost(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    (tmp_path / LOCK).unlink()
    second = RunLock(tmp_path)
    with pytest.raises(LostFolderError, match="is no longer the folder of this run"):
        first.check()
    second.check()
    second.release()
    first.release()


def test_a_folder_replaced_by_a_link_is_lost_unless_the_link_leads_to_it(tmp_path: Path) -> None:
    held = RunLock(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "large-disk")
    (tmp_path / "run").symlink_to(tmp_path / "large-disk")
    held.check()
    (tmp_path / "other").mkdir()
    (tmp_path / "run").unlink()
    (tmp_path / "run").symlink_to(tmp_path / "other")
    with pytest.raises(LostFolderError):
        held.check()
    assert not (tmp_path / "other" / LOCK).exists()
    held.release()


def test_a_lock_that_another_machine_took_over_is_lost(tmp_path: Path) -> None:
    """This process was stopped for longer than the other one watched, on a disk without locks."""
    held = RunLock(tmp_path)
    (tmp_path / LOCK).write_text(json.dumps({"host": "node7", "key": "other"}), "utf-8")
    with pytest.raises(LostFolderError, match=r"process \? on node7"):
        held.check()
    held.release()


def test_checks_can_be_spared(tmp_path: Path) -> None:
    held = RunLock(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    held.check(at_most_every=60.0)
    with pytest.raises(LostFolderError):
        held.check()
    held.release()


def test_a_refused_start_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    RunLock(tmp_path / "runs" / "new" / "one").discard()
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]
    (tmp_path / "runs" / "config.yaml").touch()
    RunLock(tmp_path / "runs").discard()
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs", tmp_path / "runs" / "config.yaml"]


def test_the_owner_obeys_a_stop_file_with_its_key_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOK", 0.02)
    asked = threading.Event()
    (tmp_path / STOP).write_text("for an earlier run", "utf-8")
    held = RunLock(tmp_path, asked=asked.set)
    assert not (tmp_path / STOP).exists()
    (tmp_path / STOP).write_text("for another run", "utf-8")
    assert not asked.wait(0.2) and (tmp_path / STOP).exists()
    key = json.loads((tmp_path / LOCK).read_text("utf-8"))["key"]
    (tmp_path / STOP).write_text(key, "utf-8")
    assert asked.wait(LIMIT) and not (tmp_path / STOP).exists()
    held.release()


def test_a_folder_that_cannot_be_made_is_refused_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--output .*run cannot be used: .*choose another folder"):
        RunLock(tmp_path / "file" / "run")
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    with pytest.raises(UserError, match=r"\.lock: Is a directory"):
        RunLock(tmp_path / "run")
