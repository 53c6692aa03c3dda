"""`gpt2zh stop` reaches one run, and says so; it changes nothing where no run answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import LIMIT

from gpt2zh.acts import stop as stops
from gpt2zh.acts.options import StopConfig
from gpt2zh.acts.stop import run as stop
from gpt2zh.config.errors import UserError
from gpt2zh.files import lock
from gpt2zh.files.lock import LOCK, STOP, RunLock


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[threading.Event]:
    """Whether the run in `tmp_path / "run"` was asked to stop."""
    monkeypatch.setattr(lock, "LOOK", 0.02)
    event = threading.Event()
    held = RunLock(tmp_path / "run", asked=event.set)
    yield event
    held.release()


def test_the_run_in_a_folder_is_asked_and_no_other(
    asked: threading.Event, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = threading.Event()
    held = RunLock(tmp_path / "other", asked=other.set)
    assert stop(StopConfig(run=tmp_path / "run")) == 0
    assert asked.wait(LIMIT) and not other.is_set()
    out = capsys.readouterr().out
    assert "asked process " in out and f"{tmp_path / 'run'} stops: it saves" in out
    held.release()


def test_a_run_that_does_not_answer_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(stops, "ANSWER", 0.2)
    owner = {"process": 7, "host": "node3", "since": "Monday", "key": "abc"}
    (tmp_path / LOCK).write_text(json.dumps(owner), "utf-8")
    assert stop(StopConfig(run=tmp_path)) == 1
    out = capsys.readouterr().out
    assert "asked process 7 on node3" in out and "no answer within 0 s" in out
    assert not (tmp_path / STOP).exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no run uses"),
        ("", "no run uses"),
        ('{"process": 7, "host": "n"}', "process 7 on n .* was started by an earlier version"),
    ],
)
def test_a_folder_without_a_run_is_refused(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / LOCK).write_text(content, "utf-8")
    with pytest.raises(UserError, match=told):
        stop(StopConfig(run=tmp_path))
    assert not (tmp_path / STOP).exists()


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder; give the --output of the run"):
        stop(StopConfig(run=tmp_path / "run"))


def test_a_folder_that_cannot_be_written_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).write_text('{"key": "abc"}', "utf-8")

    def forbidden(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(stops, "write_whole", forbidden)  # root may write everywhere
    with pytest.raises(UserError, match=r"Permission denied.*chown -R"):
        stop(StopConfig(run=tmp_path))
