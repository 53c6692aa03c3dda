"""How fast training is: gpt2zh, transformers' Trainer and a bare loop, on one device.

    python -m benchmarks.throughput --json out.json             # GPT-2 small; needs a GPU
    python -m benchmarks.throughput --ladder --json out.json    # and what each part is worth
    python -m benchmarks.throughput --small                     # tiny, for a CPU
    python -m benchmarks.throughput --arms overhead             # cost of the engine alone
    python -m benchmarks.throughput --table out.json            # print the tables once more

It needs `pip install -e '.[bench]'`. The arms:

* `hf-seed`: the Trainer as in zero_nlp's notebook: fp16, eager attention, dropout 0.1, 20 x 8 rows,
  batches from lists without a worker.
* `hf-best`: the Trainer at its best: bf16, SDPA, no dropout, fused AdamW, torch.compile, workers.
* `bare`: a loop in the manner of nanoGPT around our model, loss and loader, bf16 weights with fp32
  master weights as in DeepSpeed, compiled: the upper limit of our engine.
* `gpt2zh-0`, `gpt2zh-1`, `gpt2zh-2`: a real run of launcher/pretrain.py at this ZeRO stage, with
  its log, its watch and its exchanges.
* The ladder: from the recipe of hf-best to ours in a bare loop, one switch at a time (compile,
  attention, chunked head, bf16 weights), then our engine, then a micro-batch twice as large.
* `overhead`: what a step of the engine costs besides the mathematics (overhead.py).

All arms read the same rows in the same order, begin with the same weights, and take steps of the
same rows with the same AdamW (learning rate, betas, decay, clipping are ours, not the Trainer's
defaults). Each runs in a process of its own, and the arms take turns. Whole steps are timed, with
the wait for rows. Tokens are real ones, without padding.

A speed is void if the losses are not those of `bare`: at each step that both have logged, and on
held-out rows after the last one, there in fp32, without dropout and by one program for all. The
JSON holds how far they may lie apart, more for arms with dropout.

The goals on a GPU: gpt2zh-1 reaches 2.5 times hf-seed, 1.2 times hf-best and 0.97 times bare.
By estimate the first command takes 35 minutes on an RTX 3090, with --ladder an hour;
benchmarks/confirm_3090.sh runs the second one.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness.cli import Benchmark, Options
from benchmarks.throughput import recipes, report

SMALL = {
    **{"layers": 2, "heads": 2, "width": 64, "context": 64, "global_batch": 16, "micro_batch": 4},
    **{"warmup": 3, "steps": 8, "rounds": 2, "vocabulary": 2304},
}
FULL = {
    **{"layers": 12, "heads": 12, "width": 768, "context": 512, "global_batch": 160},
    **{"micro_batch": 20, "warmup": 20, "steps": 30, "rounds": 2, "vocabulary": 0},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; --small only changes the defaults of the others."""
    parser.add_argument("--small", action="store_true", help="a tiny model and few steps")
    parser.add_argument("--arms", nargs="*", help="names of arms, also NAME@ROWS")
    parser.add_argument("--ladder", action="store_true", help="also the rungs from hf-best to ours")
    parser.add_argument("--data", type=Path, help="folder of shards instead of the demo corpus")
    for name, value in (SMALL if "--small" in sys.argv else FULL).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="one for all arms")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on GPUs")
    parser.add_argument("--work", type=Path, help="folder for rows, weights and runs")


def chosen(options: Options) -> list[str]:
    """Return the arms of this run; the reference is among them if any is timed."""
    names = list(recipes.MAIN if options.arms is None else options.arms)
    names += recipes.ladder(options.micro_batch) if options.ladder else []
    timed = [name for name in names if name != recipes.OVERHEAD]
    for name in timed:
        recipes.recipe_of(name)
    return list(dict.fromkeys([*names, *([recipes.REFERENCE] if timed else [])]))


def measure(options: Options) -> dict[str, Any]:
    """Prepare everything, run the rounds, and judge them."""
    if find_spec("accelerate") is None:
        raise SystemExit("error: the Trainer needs accelerate: pip install -e '.[bench]'")
    names = chosen(options)  # refuses wrong ones before torch is imported
    from benchmarks.throughput.rounds import measure_all

    return measure_all(options, names)


def arm(options: Options) -> dict[str, Any]:
    """Measure one arm in this process."""
    import torch

    from benchmarks.throughput.rounds import Job, measure_arm

    job = Job.of(options, options.work, on_gpu=torch.cuda.is_available())
    return measure_arm(job, options.child)


if __name__ == "__main__":
    sys.exit(Benchmark(__doc__, add_options, measure, report.markdown, arm).main())
