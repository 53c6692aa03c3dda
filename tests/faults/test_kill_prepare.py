"""Killing `prepare` counts its kills and compares the shards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, demo_texts, write_csv


def test_a_killed_preparation_gives_the_same_bytes(tmp_path: Path) -> None:
    corpus, report = write_csv(tmp_path / "corpus.csv", demo_texts()[:40]), tmp_path / "out.json"
    options = [f"--input={corpus}", "--kills=1", f"--work={tmp_path}", f"--json={report}"]
    command = [sys.executable, "-m", "tests.faults.kill_prepare", *options, "--", "--row-length=32"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text("utf-8"))
    assert found["kills"] >= 1 and found["different"] == 0 and found["files"] >= 5
    assert sum(found["killed while"].values()) == found["kills"]


def test_a_preparation_that_fails_is_not_counted_as_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.kill_prepare", f"--input={tmp_path}/none.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1 and "failed with exit code" in done.stderr
