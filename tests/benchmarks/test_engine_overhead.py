"""The benchmark of the engine's overhead runs, and its table says what the JSON holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engine_overhead.py"


@pytest.mark.ranks
def test_all_ways_of_taking_a_step_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--layers=2", "--rounds=3", "--stages", "0", "1", "--precisions", "bf16"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options, f"--json={out}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text("utf-8"))
    assert report["tensors"] == 28
    cases = [(case["stage"], case["micro_batches"]) for case in report["cases"]]
    assert cases == [(0, 1), (0, 4), (1, 1), (1, 4)]
    for case in report["cases"]:
        assert min(case[f"{way}_ms"] for way in ("torch", "deepspeed", "gpt2zh")) > 0
    by_stage = {(c["stage"], c["micro_batches"]): c["gpt2zh_more_ms"] for c in report["cases"]}
    each = (by_stage[1, 4] - by_stage[1, 1]) / 3
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| bf16 | 1 |")]
    assert f"| {each:+.2f} | {by_stage[1, 1] - each:+.2f} |" in row
    again = subprocess.run([sys.executable, SCRIPT, f"--table={out}"], capture_output=True)
    assert again.stdout.decode() == done.stdout
