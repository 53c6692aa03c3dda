"""Ranks as local processes: they know their place, speak through one mouth and end together."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from gpt2zh.ranks.local import run_ranks

pytestmark = pytest.mark.slow

WORKER = """
import os, sys, time
rank = int(os.environ["RANK"])
place = f"rank {rank} of {os.environ['WORLD_SIZE']} {os.environ['LOCAL_RANK']}"
print(place, " ".join(sys.argv[1:]), flush=True)
assert os.environ["EXTRA"] == "7" and os.environ["MASTER_PORT"].isdecimal()
code = int(sys.argv[1 + rank])
if code == 99:
    time.sleep(300)
    print("not ended")
sys.exit(code)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "worker_of_test.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(*codes: int, show=None) -> tuple[int, list[str]]:
        lines: list[str] = []
        code = run_ranks(
            "worker_of_test",
            [str(code) for code in codes],
            ranks=len(codes),
            settings={"EXTRA": "7"},
            show=show or lines.append,
        )
        return code, lines

    return run


@pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((75, 75, 75), 75), ((0,), 0)])
def test_every_rank_has_its_place_and_is_heard(start, codes: tuple[int, ...], code: int) -> None:
    ended, lines = start(*codes)
    assert ended == code
    given, ranks = " ".join(map(str, codes)), len(codes)
    assert sorted(lines) == [f"rank {r} of {ranks} {r} {given}" for r in range(ranks)]


def test_one_that_fails_ends_the_others_and_gives_the_code(start) -> None:
    code, lines = start(99, 71)
    assert code == 71 and "not ended" not in lines


def test_what_shows_the_lines_may_give_up(start) -> None:
    def leave(line: str) -> None:
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        start(99, 99, show=leave)
    assert time.monotonic() - begun < 300  # the sleep of a rank


def test_a_signal_amid_the_start_leaves_no_rank_behind(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    born: list[subprocess.Popen] = []
    real = subprocess.Popen

    def interrupted(*given, **more) -> subprocess.Popen:
        born.append(real(*given, **more))
        signal.raise_signal(signal.SIGINT)
        return born[-1]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(99, 99)
    assert len(born) == 2 and None not in [process.poll() for process in born]
