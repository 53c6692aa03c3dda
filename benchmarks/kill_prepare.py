"""How often `prepare` can be killed: kill -9 at random moments, and the same bytes in the end.

    python benchmarks/kill_prepare.py --input 'corpus/**/*.csv' --kills 100 --seed 1

A round begins a preparation, kills all its processes after a random time, gives the same command
again with a random number of workers, and so on, until a try gets through. Its shards are compared
with those of an undisturbed run, every byte of every file. Exit code 1 if any differs.
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

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Kill as often as asked and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="as for data_tools prepare")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=3, help="most workers of a try")
    parser.add_argument("--work", type=Path, help="folder for what is written")
    parser.add_argument("--json", type=Path, help="write the counts here")
    parser.add_argument("more", nargs="*", help="further options of prepare, after --")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    phases: Counter[str] = Counter()
    rounds = different = 0
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        begun = time.monotonic()
        assert run(options, work / "whole", 1) == 0
        longest = 1.2 * (time.monotonic() - begun)
        expected = digests(work / "whole")
        while phases.total() < options.kills:
            output = work / f"round-{rounds}"
            while (phase := attempt(options, output, rng, longest)) is not None:
                phases[phase] += 1
            found = digests(output)
            if found != expected:
                different += 1
                names = {name for name, _ in found.items() ^ expected.items()}
                print(f"{output} differs in {sorted(names)}", flush=True)
            rounds += 1
            print(f"{phases.total()} kills, {rounds} rounds, {different} differ", flush=True)
            if True:
                shutil.rmtree(output)
    report = {
        "kills": phases.total(),
        "rounds": rounds,
        "different": different,
        "killed while": dict(phases),
        "files": len(expected),
        "seed": options.seed,
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(different > 0)


def command(options: argparse.Namespace, output: Path, workers: int) -> list[str]:
    """Return the command line of one try."""
    line = [sys.executable, "-m", "data_tools", "prepare", "--input", options.input]
    return [*line, "--output", str(output), "--workers", str(workers), *options.more]


def run(options: argparse.Namespace, output: Path, workers: int) -> int:
    """Run a command undisturbed."""
    quiet = subprocess.DEVNULL
    return subprocess.run(command(options, output, workers), cwd=ROOT, stdout=quiet).returncode


def attempt(
    options: argparse.Namespace, output: Path, rng: random.Random, longest: float
) -> str | None:
    """Try once, killed after a random time; return what it was doing, None if it got through.

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
    """Tell from the files how far a preparation is."""
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
