"""Kill `prepare` with kill -9 at random moments; the shards must be the same to the byte.

    python -m tests.faults.kill_prepare --input 'corpus/**/*.csv' --kills 100 --seed 1

A round starts a preparation and kills all its processes after a random time, then starts the same
command again with a random number of workers, and so on, until one start gets through. Every byte
of every file is compared with those of a preparation without kills. The exit code is 1 if a file
differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Kill as often as the options say, and print a report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="as for data_tools prepare")
    parser.add_argument("--kills", type=int, default=100, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--workers", type=int, default=3, help="largest number of workers")
    parser.add_argument("--work", type=Path, help="folder for the shards; they are deleted")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    parser.add_argument("more", nargs="*", help="further options of prepare, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        report = kill(options, Path(work))
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return int(report["different"] > 0)


def kill(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run rounds until there were enough kills; return the counts."""
    rng = random.Random(options.seed)
    begun = time.monotonic()
    undisturbed(options, work / "whole")
    longest = 1.2 * (time.monotonic() - begun)
    expected = digests(work / "whole")
    phases: Counter[str] = Counter()
    rounds = different = 0
    while phases.total() < options.kills:
        output = work / f"round-{rounds}"
        while (phase := attempt(options, output, rng, longest)) is not None:
            phases[phase] += 1
        found = digests(output)
        if found != expected:
            different += 1
            names = {name for name, _ in found.items() ^ expected.items()}
            print(f"{output} differs in {sorted(names)}", flush=True)
        shutil.rmtree(output)
        rounds += 1
        print(f"{phases.total()} kills, {rounds} rounds, {different} differ", flush=True)
    return {
        "kills": phases.total(),
        "rounds": rounds,
        "different": different,
        "killed while": dict(phases),
        "files": len(expected),
        "seed": options.seed,
    }


def command(options: argparse.Namespace, output: Path, workers: int) -> list[str]:
    """Return the command line of one start."""
    line = [sys.executable, "-m", "data_tools", "prepare", "--input", options.input]
    return [*line, "--output", str(output), "--workers", str(workers), *options.more]


def undisturbed(options: argparse.Namespace, output: Path) -> None:
    """Run the command without a kill."""
    line = command(options, output, workers=1)
    if code := subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"the command failed with exit code {code}: {' '.join(line)}")


def attempt(
    options: argparse.Namespace, output: Path, rng: random.Random, longest: float
) -> str | None:
    """Start once and kill after a random time.

    Returns:
        The phase that was killed; None if the command got through.

    Raises:
        RuntimeError: The command failed by itself.
    """
    process = subprocess.Popen(
        command(options, output, rng.randint(1, options.workers)),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(rng.uniform(0.1, longest))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return phase_of(output)
    if code:
        raise RuntimeError(f"the command failed with exit code {code}")
    return None


def phase_of(output: Path) -> str:
    """Return the phase of a preparation, as its files show it."""
    partial = output.with_name(output.name + ".partial")
    if not (partial / "work" / "plan.json").exists():
        return "putting in place" if (partial / "manifest.json").exists() else "planning"
    if (partial / "manifest.json").exists():
        return "putting in place"
    if not (partial / "work" / "drafts" / "decided.json").exists():
        return "drafting"
    return "packing"


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    sys.exit(main())
