"""The loader's benchmark runs, and what it counts is right; how fast is not for a test to say."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loader
from gpt2zh.data.shard import ShardSet

LENGTH, ROWS = 32, 3 * loader.GLOBAL_BATCH


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "shards"
    loader.make_set(folder, ROWS, LENGTH)
    return folder


def test_a_set_holds_different_rows(shards: Path) -> None:
    found = ShardSet.open(shards)
    found.verify()
    assert (found.rows, len(found.shards)) == (ROWS, loader.SHARDS)
    assert len(np.unique(found.gather(np.arange(ROWS)), axis=0)) == ROWS


@pytest.mark.parametrize("arm", loader.ARMS)
def test_an_arm_reads_every_row_once(shards: Path, arm: str) -> None:
    options = argparse.Namespace(child=arm, work=shards, row_length=LENGTH, seconds=60.0)
    figures = loader.arm(options)
    first = {"gpt2zh": loader.GLOBAL_BATCH}.get(arm, loader.MICRO_BATCH)  # is not counted
    most = 400 if arm == "memmap" else 0  # it also reads the headers of the files
    assert 0 <= figures["tokens"] / LENGTH - (ROWS - first) <= most
    assert figures["tokens_per_second"] == figures["tokens"] / figures["seconds"] > 0
    assert figures["start"] > 0


def test_the_report_is_complete(
    tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(loader.ARMS, "DataLoader")  # one process less; it is measured above
    options = ("--tokens=320000", f"--row-length={LENGTH}", "--seconds=1", f"--work={tmp_path}")
    report, printed = run("loader", *options)
    shape = {name: report[name] for name in ("tokens", "shards", "row_length")}
    assert shape == {"tokens": 319_488, "shards": 32, "row_length": LENGTH}
    assert list(report["arms"]) == ["gpt2zh", "memmap"]
    assert all(figures["tokens_per_second"] > 0 for figures in report["arms"].values())
    assert {"device", "cores", "python", "versions"} <= report["machine"].keys()
    start = report["arms"]["gpt2zh"]["start"]
    assert f"| gpt2zh | {start:.3f} |" in printed and "M tokens/s" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]  # no set is left behind
