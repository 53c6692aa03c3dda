"""What a checkpoint costs: how long training stands still, and how soon a resume goes on.

    python -m benchmarks.saving --ranks 2 --disk runs/ --json out.json
    python -m benchmarks.saving --ranks 1 --precision bf16          # on a GPU

One engine (DeepSpeed, by default ZeRO 1) trains random tokens and is saved in turn by:

* `deepspeed`: `engine.save_checkpoint`, as it is; it does not wait for the disk.
* `deepspeed, on disk`: the same, then fsync of every file, which makes it as safe as ours.
* `gpt2zh, waiting`: ours with `checkpoint.async_save` false.
* `gpt2zh`: ours by default: a copy in host memory is written during the next steps.

`stall` is the time in which no step is taken. `slower` is what the steps during the writing take
more than as many steps alone; on a CPU, hashing and training share the cores, on a GPU they do not.
`cost` is the sum. MB/s count the whole time until the checkpoint is complete. `resume` is the time
from a fresh model to the end of its first step, files in the page cache: ours compares every sha256
before, DeepSpeed checks nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, table

SHAPE = {"ranks": 1, "layers": 12, "width": 768, "context": 64, "micro-batch": 1, "stage": 1}
HELP = {"context": "tokens of a row: short on a CPU", "stage": "of ZeRO"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    for name, value in SHAPE.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=HELP.get(name))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=3, help="times that every arm saves")
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure")


def measure(options: Options) -> dict[str, Any]:
    """Start the ranks; the first one returns what it has measured."""
    with tempfile.TemporaryDirectory(dir=options.disk, prefix="saving-") as disk:
        module = processes.child("benchmarks.saving", "all", f"--disk={disk}")
        return processes.start(processes.Start(module, ranks=options.ranks))


def arm(options: Options) -> dict[str, Any] | None:
    """Save with every arm in turn, then resume with both; on every rank."""
    from benchmarks.saving import bench

    found = bench.measure(options)
    if found is None:
        return None
    facts = machine.facts("torch", "deepspeed", "safetensors", on_gpu=found.pop("on_gpu"))
    given = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    return {"machine": facts, "options": given, **found}


def markdown(report: dict[str, Any]) -> str:
    """Return the tables, of medians."""
    rows = []
    for arm, rounds in report["arms"].items():
        middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        cost = middle["stall"] + middle["slower"]
        seconds = (middle["stall"], middle["slower"], cost, middle["total"])
        rate = middle["bytes"] / middle["total"] / 1e6
        rows.append([arm, *(f"{value:.2f}" for value in seconds), f"{rate:.0f}"])
    columns = ["arm", "stall s", "slower s", "cost s", "until complete s", "MB/s"]
    resumed = [
        [arm, f"{statistics.median(seconds):.2f}"]
        for arm, seconds in report["resume_seconds"].items()
    ]
    return (
        f"{machine.heading(report['machine'])}\n{report['parameters'] / 1e6:.0f} M parameters, "
        f"{report['options']['ranks']} ranks; a step takes {report['step_seconds']:.2f} s.\n\n"
        f"{table(columns, rows)}\n\n"
        f"{table(['resume', 's to the end of the first step'], resumed)}\n"
    )


BENCHMARK = Benchmark(__doc__, add_options, measure, markdown, arm)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
