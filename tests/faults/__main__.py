"""Run tiny trainings with N random faults; each must end as if there were no faults.

    make torture N=1000 [SEED=1] [SEEDS=10]
    python -m tests.faults --faults 1000 --seed 1 --seeds 10

Every run trains a tiny GPT-2 on real text: two processes, DeepSpeed and gloo, dropout, several
epochs. Each start meets one attack (attack.py): a fault of one rank at a random mark (fault.py), at
a file operation or before the process group exists (early.py); too many bad steps in a row; output
that is lost (output.py); the same command a second time, also with an owner whose clock is hours
off (second.py, clock.py); files of other programs in the folder (foreign.py). Or the newest
checkpoint is damaged before the start (damage.py). Some starts use the `deepspeed` command and are
killed from outside at any moment, also during imports (outside.py). The same command is started
again until the run is complete. Then its end (weights, moments, order of the rows, losses of all
steps) is compared with the end of a run without faults; the tolerance is 0. After every fault all
processes must end in time, with the exit codes of docs/en/troubleshooting.md, and no complete
checkpoint may ever be set aside.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.attack import KINDS
from tests.faults.sabotage import GUARDS, SABOTAGES
from tests.faults.torture import Count, Torture

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the faults and print a report; return 1 if a run ended otherwise than it should."""
    options = parse()
    work = options.keep or Path(tempfile.mkdtemp(prefix="torture-"))
    work.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    counts: dict[int, Count] = {}
    lines = []
    try:
        torture = Torture(options, work)
        for number in range(options.seeds):
            seed, since = options.seed + number, time.monotonic()
            share = options.faults * (number + 1) // options.seeds
            counts[seed] = torture.run(seed, share - options.faults * number // options.seeds)
            lines.append(summary(seed, counts[seed], time.monotonic() - since))
            print(lines[-1], flush=True)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    report(options, counts, time.monotonic() - begun)
    if options.seeds > 1:
        print("\n".join(lines))
    return 1 if any(count.failures for count in counts.values()) else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=100, help="number of faults")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no run after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seeds", type=int, default=1, help="spread the faults over so many seeds from --seed on"
    )
    parser.add_argument(
        "--outside", type=float, default=0.03, help="share of starts with the deepspeed command"
    )
    parser.add_argument("--only", choices=KINDS, help="one kind of attack")
    parser.add_argument(
        "--sabotage",
        choices=(*SABOTAGES, *GUARDS),
        help="break the code: the torture must then fail",
    )
    parser.add_argument("--keep", type=Path, help="folder for the runs; it is not deleted")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def summary(seed: int, count: Count, seconds: float) -> str:
    """Return the result of one seed in one line."""
    return (
        f"seed {seed}: {count.total} faults in {count.starts} starts of {count.runs} runs, "
        f"{seconds:.0f} s: {count.differences} differences, {len(count.failures)} failures; the "
        f"last rank ended at most {count.apart:.1f} s after the first"
    )


def report(options: argparse.Namespace, counts: dict[int, Count], seconds: float) -> None:
    """Print the counts and the failures, and write them as JSON if the user asks for it."""
    faults, kinds = (
        sum((Counter(c) for c in part), Counter[str]())
        for part in zip(*((count.faults, count.kinds) for count in counts.values()), strict=True)
    )
    failures = [f"seed {s}, {text}" for s, count in counts.items() for text in count.failures]
    for name, times in sorted(faults.items()):
        print(f"{times:6} {name}")
    for failure in failures:
        print(f"FAILED {failure}")
    print("; ".join(f"{kind} {times}" for kind, times in sorted(kinds.items())))
    print(f"{faults.total()} faults in {seconds:.0f} s: {len(failures)} failures")
    if options.json is not None:
        figures = {
            "seed": options.seed,
            "sabotage": options.sabotage,
            "faults": dict(faults),
            "kinds": dict(kinds),
            "total": faults.total(),
            "starts": sum(count.starts for count in counts.values()),
            "runs": sum(count.runs for count in counts.values()),
            "seconds": round(seconds),
            "apart_seconds": round(max(count.apart for count in counts.values()), 2),
            "differences": sum(count.differences for count in counts.values()),
            "failures": failures,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
