"""The launcher in one process, as far as a dry run or a refusal goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plans import ROOT, arguments, plan_of, snapshot
from verifying import gpt2zh

from gpt2zh.acts.pretrain import main
from gpt2zh.plan.describe import describe

LAUNCHER = ROOT / "launcher" / "pretrain.py"

HEAVY = """
import runpy, sys
sys.argv = sys.argv[1:]
code = None
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as leaving:
    code = leaving.code
print("HEAVY", sorted({"torch", "transformers", "deepspeed"} & set(sys.modules)))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"dry_run": "true"},
        {"deepspeed_config": "null", "train__micro_batch": "auto"},
    ],
    ids=["all given", "a dry run", "left open"],
)
def test_bad_input_is_refused_without_torch_and_nothing_is_written(
    tiny_shards: Path, run: Path, more: dict
) -> None:
    """No GPU can be taken by a process that never imports torch."""
    argv = arguments(tiny_shards, run, train__global_batch=4000, **more)
    before = snapshot(tiny_shards)
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, str(LAUNCHER), *argv],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")},
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == "HEAVY []\n" and "less than one train.global_batch" in done.stderr
    assert not run.parent.exists() and snapshot(tiny_shards) == before


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """What the launcher runs, in this process, which gets its signals back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}

    def start(argv: list[str], **env: str) -> int:
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["pretrain.py", *argv])
        return main()

    yield start
    signal.set_wakeup_fd(-1)  # the thread that listens would end this process at the next signal
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    shards: Path, run: Path, launch: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    before = snapshot(shards.parent)
    assert launch(arguments(shards, run, dry_run="true")) == 0
    assert snapshot(shards.parent) == before
    assert describe(plan_of(shards, run)) in capsys.readouterr().out


@pytest.mark.parametrize(
    "more",
    [{}, {"deepspeed_config": "null", "train__micro_batch": "auto"}],
    ids=["all given", "left open"],
)
def test_a_dry_run_prints_what_the_plan_verb_prints(
    tiny_shards: Path,
    run: Path,
    launch: Callable[..., int],
    capsys: pytest.CaptureFixture,
    more: dict,
) -> None:
    argv = arguments(tiny_shards, run, skip_rows="0-2", **more)
    assert launch([*argv, "--dry-run"]) == 0
    dry = capsys.readouterr()
    assert gpt2zh("plan", *argv) == 0
    assert capsys.readouterr() == dry
    assert "steps per epoch" in dry.out and "3 rows read without loss" in dry.out


def test_a_dry_run_asks_deepspeed_about_its_own_section(
    tiny_shards: Path,
    run: Path,
    tmp_path: Path,
    launch: Callable[..., int],
    capsys: pytest.CaptureFixture,
) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 2, "overlap_com": true, "overlap_comm": 7}}')
    assert launch(arguments(tiny_shards, run, deepspeed_config=path, dry_run="true")) == 2
    error = capsys.readouterr().err
    assert "2 faults" in error and "zero_optimization.overlap_com: " in error
    assert "zero_optimization.overlap_comm: " in error and "(given: 7)" in error
    assert not run.exists()


@pytest.mark.parametrize("fault", ["too few rows", "DeepSpeed's own"])
@pytest.mark.slow
def test_only_one_rank_speaks(
    tiny_shards: Path,
    run: Path,
    tmp_path: Path,
    launch: Callable[..., int],
    capsys: pytest.CaptureFixture,
    fault: str,
) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 1, "overlap_com": true}}')
    more = {"train__global_batch": 400} if fault == "too few rows" else {"deepspeed_config": path}
    argv = arguments(tiny_shards, run, dry_run="true", **more)
    for rank, lines in ((0, 1), (1, 0)):
        assert launch(argv, RANK=str(rank), WORLD_SIZE="2") == 2
        out, error = capsys.readouterr()
        # DeepSpeed is asked when the plan is made and told.
        assert (out == "") == (rank == 1 or fault == "too few rows")
        assert error.count("error: ") == lines
