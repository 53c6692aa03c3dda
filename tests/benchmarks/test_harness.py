"""Arms in turn, in processes of their own; tables; and errors that say what happened."""

from __future__ import annotations

import os

import pytest

from benchmarks.harness.cli import table
from benchmarks.harness.machine import facts, heading
from benchmarks.harness.processes import ArmError, Start, child, fork, in_turn, start


def test_arms_take_turns() -> None:
    order: list[tuple[str, int]] = []
    found = in_turn(["a", "b"], 2, lambda name, number: order.append((name, number)) or number)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert found == {"a": [0, 1], "b": [0, 1]}


def test_an_arm_is_a_process_with_its_own_environment() -> None:
    code = (
        "import json, os, pathlib, sys; out = sys.argv[1].removeprefix('--out=');"
        "found = {'pid': os.getpid(), 'x': os.environ['X']};"
        "pathlib.Path(out).write_text(json.dumps(found))"
    )
    found = start(Start(["-c", code], {"X": "1"}))
    assert found["x"] == "1" and found["pid"] != os.getpid()
    assert "X" not in os.environ


def test_an_arm_gets_the_options_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x.py", "--small", "--work=a"])
    expected = ["-m", "benchmarks.x", "--small", "--work=a", "--child=b", "--work=c"]
    assert child("benchmarks.x", "b", "--work=c") == expected


def test_an_arm_that_fails_says_why() -> None:
    code = "print('RuntimeError: CUDA out of memory'); raise SystemExit(3)"
    with pytest.raises(ArmError, match="exit code 3: RuntimeError: CUDA out of memory"):
        start(Start(["-c", code]))
    with pytest.raises(ArmError, match="exit code 0: no figures"):
        start(Start(["-c", "print('no figures')"]))


def test_an_arm_that_does_not_end_is_killed() -> None:
    with pytest.raises(ArmError, match=r"did not end after 0.5 seconds"):
        start(Start(["-c", "import time; time.sleep(60)"], patience=0.5))


def test_a_fork_changes_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("X", raising=False)
    found = fork(lambda: {"pid": os.getpid(), "x": os.environ["X"]}, {"X": "1"})
    assert found["x"] == "1" and found["pid"] != os.getpid() and "X" not in os.environ

    def fail() -> dict:
        raise ValueError("no rows")

    with pytest.raises(ArmError, match="ValueError: no rows"):
        fork(fail, {})


def test_short_rows_of_a_table_are_filled() -> None:
    lines = table(["a", "b", "c"], [["1"], ["1", "2", "3"]]).splitlines()
    assert lines == ["| a | b | c |", "|---|---|---|", "| 1 |  |  |", "| 1 | 2 | 3 |"]


def test_a_report_names_the_machine() -> None:
    found = facts("torch", "no-such-package")
    assert list(found["versions"]) == ["torch"] and found["cores"] >= 1
    text = heading(found)
    assert found["device"] in text and f"torch {found['versions']['torch']}" in text
