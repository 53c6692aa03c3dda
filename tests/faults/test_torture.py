"""Seeded faults of all kinds: a run ends as if nothing had happened, and a broken one does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.ranks import SABOTAGES

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.ranks


def torture(tmp_path: Path, *options: str) -> tuple[int, dict, str]:
    """Exit code, figures and output."""
    report = tmp_path / "torture.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.faults",
            f"--json={report}",
            f"--keep={tmp_path / 'w'}",
            *options,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert report.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(report.read_text("utf-8")), done.stdout


def test_runs_that_are_killed_stopped_hung_and_damaged_end_like_undisturbed_ones(
    tmp_path: Path,
) -> None:
    code, figures, output = torture(tmp_path, "--faults=80", "--seconds=110", "--seed=7")
    assert code == 0 and figures["failures"] == [], output[-6000:]
    assert figures["total"] >= 15 and figures["runs"] >= 4
    assert len(figures["faults"]) >= 8  # kinds and phases
    assert figures["apart_seconds"] < 12


@pytest.mark.parametrize("name", SABOTAGES)
def test_code_that_breaks_a_promise_is_caught(tmp_path: Path, name: str) -> None:
    code, figures, output = torture(
        tmp_path, "--faults=40", "--outside=0", "--seed=3", f"--sabotage={name}"
    )
    # Rank 0 alone meets a file that is not whole, and the other one waits for it.
    how = "had to be killed" if name == "trust in files" else " differs"
    assert code == 1 and any(how in told for told in figures["failures"]), output[-3000:]
