"""The estimate of memory against the peak of a real GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is here"),
]
GOAL = 0.05


@pytest.mark.parametrize(
    "name",
    [
        "stage 1, bf16, compiled, 128 rows",
        "stage 1, bf16, eager, recompute",
        "stage 1, bf16, eager, dropout",
        "stage 2, bf16, eager, offload",
        "stage 3, bf16, eager, offload",
    ],
)
def test_the_estimate_is_the_peak_of_a_step(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "benchmarks.memory", f"--only={name}", f"--json={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    one = next(one for one in json.loads(out.read_text("utf-8"))["cases"] if one["name"] == name)
    peak = max(level["peak"] for level in one["found"]["levels"].values())
    expected = max(part["total"] - part["context"] for part in one["estimate"].values())
    assert abs(expected / peak - 1) < GOAL, done.stdout


def test_the_context_is_no_larger_than_reckoned(tmp_path: Path) -> None:
    from gpt2zh.cost.memory import CONTEXT

    out = tmp_path / "out.json"
    name = "stage 1, bf16, eager, 1 row"
    command = [sys.executable, "-m", "benchmarks.memory", f"--only={name}", f"--json={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (one,) = json.loads(out.read_text("utf-8"))["cases"]
    assert one["found"]["beside"]["context"] <= CONTEXT
