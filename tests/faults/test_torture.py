"""Seeded faults of all kinds: a run ends as if nothing had happened, and a broken one does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.attack import KINDS
from tests.faults.sabotage import SABOTAGES

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.ranks


ONE_AFTER_THE_OTHER = """
import json, sys
from tests.faults.__main__ import main
codes = []
for argv in json.loads(sys.argv[1]):
    sys.argv[1:] = argv
    codes.append(main())
print(json.dumps(codes))
"""
Result = tuple[int, dict, str]


def torture(folder: Path, *tortures: list[str]) -> list[Result]:
    """Exit code, figures and the output of all, one after the other in one new process."""
    keep = [folder / str(number) for number in range(len(tortures))]
    argvs = [
        [*options, f"--keep={work}", f"--json={work}.json"]
        for options, work in zip(tortures, keep, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(argvs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    figures = [json.loads(Path(f"{work}.json").read_text("utf-8")) for work in keep]
    return [(code, found, done.stdout) for code, found in zip(codes, figures, strict=True)]


def test_runs_that_meet_every_kind_of_attack_end_like_undisturbed_ones(
    tmp_path: Path,
) -> None:
    [(code, figures, output)] = torture(tmp_path, ["--faults=16", "--seconds=3600", "--seed=7"])
    assert code == 0 and figures["failures"] == [], output[-6000:]
    assert figures["total"] >= 15 and figures["runs"] >= 3
    assert figures["kinds"].keys() >= KINDS.keys()
    assert len(figures["faults"]) >= 12  # kinds and phases
    assert re.search(r"^seed 7: \d+ faults .*: 0 differences, 0 failures", output, re.MULTILINE)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What a torture of each broken code found."""
    common = ["--faults=40", "--outside=0", "--seed=3", "--only=mark"]
    tortures = ([*common, f"--sabotage={name}"] for name in SABOTAGES)
    found = torture(tmp_path_factory.mktemp("broken"), *tortures)
    return dict(zip(SABOTAGES, found, strict=True))


@pytest.mark.parametrize("name", SABOTAGES)
def test_code_that_breaks_a_promise_is_caught(broken: dict[str, Result], name: str) -> None:
    code, figures, output = broken[name]
    # Rank 0 alone meets a file that is not whole: it crashes or refuses, and the other one waits.
    how = r"had to be killed|exit codes \[[12], " if name == "trust in files" else " differs"
    assert code == 1 and any(re.search(how, told) for told in figures["failures"]), output[-3000:]
