"""Run tiny trainings with N random faults; each must end as if there were no faults.

    make torture N=1000 [SEED=1]
    python -m tests.faults --faults 1000 --seed 1

Every run trains a tiny GPT-2 on real text: two processes, DeepSpeed and gloo, dropout, several
epochs. In each start one fault strikes one rank at a random mark (fault.py), or the newest
checkpoint is damaged before the start (damage.py). Some starts use the `deepspeed` command and are
killed from outside at any moment, also during imports (outside.py). The same command is started
again until the run is complete. Then its end (weights, moments, order of the rows, losses of all
steps) is compared with the end of a run without faults; the tolerance is 0. After every fault all
processes must end in time, with the exit codes of docs/en/troubleshooting.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.ranks import SABOTAGES
from tests.faults.torture import Count, Torture

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the faults and print a report; return 1 if a run ended otherwise than it should."""
    options = parse()
    work = options.keep or Path(tempfile.mkdtemp(prefix="torture-"))
    work.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        count = Torture(options, work).run(begun)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    report(options, count, time.monotonic() - begun)
    return 1 if count.failures else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=100, help="number of faults")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no run after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--outside", type=float, default=0.03, help="share of starts with the deepspeed command"
    )
    parser.add_argument(
        "--sabotage", choices=SABOTAGES, help="break the code: the runs must then differ"
    )
    parser.add_argument("--keep", type=Path, help="folder for the runs; it is not deleted")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def report(options: argparse.Namespace, count: Count, seconds: float) -> None:
    """Print the counts and the failures, and write them as JSON if the user asks for it."""
    for name, times in sorted(count.faults.items()):
        print(f"{times:6} {name}")
    for failure in count.failures:
        print(f"FAILED {failure}")
    print(
        f"{count.total} faults (seed {options.seed}) in {count.starts} starts of {count.runs} runs,"
        f" {seconds:.0f} s: {len(count.failures)} failures; the last rank ended at most "
        f"{count.apart:.1f} s after the first"
    )
    if options.json is not None:
        figures = {
            "seed": options.seed,
            "sabotage": options.sabotage,
            "faults": dict(count.faults),
            "total": count.total,
            "starts": count.starts,
            "runs": count.runs,
            "seconds": round(seconds),
            "apart_seconds": round(count.apart, 2),
            "failures": count.failures,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
