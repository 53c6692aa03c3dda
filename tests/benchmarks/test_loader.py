"""The loader's benchmark runs, and what it counts is right; how fast is not for a test to say."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loader
from gpt2zh.data.shard import ShardSet

from ..conftest import ROOT

LENGTH, ROWS = 32, 3000


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "real"
    loader.make_set(folder, ROWS, 400, LENGTH, linked=False)
    return folder


def test_a_set_holds_different_rows_and_a_large_one_the_same_file(
    real: Path, tmp_path: Path
) -> None:
    shards = ShardSet.open(real)
    assert (shards.rows, len(shards.shards)) == (ROWS, 8)
    assert len(np.unique(shards.gather(np.arange(ROWS)), axis=0)) == ROWS
    loader.make_set(tmp_path / "large", 4000, 400, LENGTH, linked=True)
    large = ShardSet.open(tmp_path / "large")
    assert (large.rows, len(large.shards)) == (4000, 10)
    large.verify()
    assert len({shard.path.stat().st_ino for shard in large.shards}) == 1


@pytest.mark.parametrize("arm", ["rows", "steps", "mixture", "memmap", "datasets", "DataLoader"])
def test_an_arm_reads_every_row_once(real: Path, arm: str) -> None:
    options = argparse.Namespace(row_length=LENGTH, seconds=60.0)
    figures = loader.ARMS[arm](real, options)
    first = {"rows": 960, "steps": 960, "mixture": 960}.get(arm, 32)  # is not counted
    assert ROWS - first - 32 <= figures["tokens"] / LENGTH <= ROWS - first + 960
    assert figures["tokens_per_second"] == figures["tokens"] / figures["seconds"] > 0


def test_the_report_is_complete(tmp_path: Path) -> None:
    argv = ["--large=640000", "--tokens=320000", "--shard=64000", f"--row-length={LENGTH}"]
    argv += ["--seconds=1", f"--json={tmp_path / 'out.json'}", f"--work={tmp_path}"]
    argv += ["--arms", "start", "steps"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", *argv], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (report["large"], report["tokens"]) == (640_000, 320_000)
    assert report["shards"] == {"large": 10, "real": 5}
    assert report["start"]["start"].keys() == {"open", "first_step", "seconds"}
    assert report["read"]["steps"]["tokens_per_second"] > 0
    assert {"device", "cores", "python", "versions"} <= report["machine"].keys()
    assert "start" in done.stdout and "M tokens/s" in done.stdout
    assert "hard links" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]  # no set is left behind
