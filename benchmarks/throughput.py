"""How fast training is: gpt2zh beside transformers' Trainer and a bare loop, on one device.

    python benchmarks/throughput.py --json out.json             # GPT-2 small; needs a GPU
    python benchmarks/throughput.py --ladder --json out.json    # and what each part is worth
    python benchmarks/throughput.py --small                     # tiny, for a CPU
    python benchmarks/throughput.py --table out.json            # the tables once more

It needs `pip install -e '.[bench]'`. The arms:

* `hf-seed`: the Trainer as zero_nlp's notebook has it: fp16, eager attention, dropout 0.1, 20 x 8
  rows, batches from lists without a worker.
* `hf-best`: the Trainer at its best: bf16, SDPA, no dropout, fused AdamW, torch.compile, workers.
* `bare`: a loop in the manner of nanoGPT around our model, loss and loader, bf16 weights with fp32
  masters like DeepSpeed's, compiled: the ceiling for our engine.
* `gpt2zh-0`, `gpt2zh-1`, `gpt2zh-2`: a real run of launcher/pretrain.py at this ZeRO stage, with
  its log, its watch and its exchanges.
* The ladder: from the seed's recipe to ours in a bare loop, one switch at a time.

All arms read the same rows in the same order, begin with the same weights, and take steps of the
same rows with the same AdamW (learning rate, betas, decay, clipping: ours; the Trainer's are not
its defaults then). Each runs in a process of its own, and the arms take turns, so that heat and
neighbours fall on all of them. Whole steps are timed, waiting for rows included; the GPU is waited
for at the edges of the window only. Tokens are real ones, without padding.

A speed is void if the losses are not those of `bare`: at each step that both have logged, and on
held-out rows after the last one, there in fp32, without dropout and by one program for all. How
far they may lie apart is in the JSON, more for arms with dropout. By default the rows are the
demo's corpus, many times over; `--data SHARDS` takes others.

By estimate the first command takes 50 minutes on an RTX 3090, with --ladder 90;
benchmarks/confirm_3090.sh runs the second one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed import arms, report  # noqa: E402

SMALL = {
    **{"layers": 2, "heads": 2, "width": 64, "context": 64, "global_batch": 16, "micro_batch": 4},
    **{"warmup": 3, "steps": 8, "rounds": 2, "log_every": 1, "vocabulary": 2304},
}


def main() -> int:
    """Run the arms, or one of them in this process, or print tables."""
    options = parse()
    if options.child:
        return child(options)
    if options.table:
        print(report.markdown(json.loads(options.table.read_text("utf-8"))))
        return 0
    if find_spec("accelerate") is None:
        raise SystemExit("the Trainer needs accelerate: pip install -e '.[bench]'")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        found = measure(options, Path(work))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(report.markdown(found))
    return 0


def parse() -> argparse.Namespace:
    """The options; --small only changes the defaults of the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    small = "--small" in sys.argv
    defaults: dict[str, Any] = {
        **{"layers": 12, "heads": 12, "width": 768, "context": 512, "global_batch": 160},
        **{"micro_batch": 20, "warmup": 20, "steps": 30, "rounds": 2, "log_every": 10},
        "vocabulary": 0,
    }
    parser.add_argument("--small", action="store_true", help="a tiny model and few steps")
    parser.add_argument("--arms", nargs="*", help=f"by name, also NAME@ROWS and NAME@{arms.BEST}")
    parser.add_argument("--ladder", action="store_true", help="also the rungs from seed to ours")
    parser.add_argument("--data", type=Path, help="folder of shards instead of the demo's corpus")
    for name, value in (defaults | (SMALL if small else {})).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="one for all arms")
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--work", type=Path, help="folder for rows, weights and runs")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, run nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[str]:
    """The arms of this run; the reference is always among them."""
    best = [] if options.small else [f"{n}@{arms.BEST}" for n in ("hf-best", "bare", "gpt2zh-1")]
    names = options.arms if options.arms is not None else [*arms.MAIN, *best]
    names = [*names, *(arms.ladder() if options.ladder else ())]
    for name in names:
        arms.recipe_of(name)
    return list(dict.fromkeys([*names, arms.REFERENCE]))


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Prepare everything, run the rounds, and judge them."""
    from gpt2zh.ranks.logs import quiet_libraries

    names = chosen(options)
    quiet_libraries()
    import torch
    from speed.judge import summary
    from speed.process import import_everything
    from speed.rounds import run_rounds
    from speed.world import facts, make_job

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed says that it found no GPU
        import_everything()
    with contextlib.redirect_stdout(sys.stderr):  # the table stands there alone
        job = make_job(options, work, on_gpu=on_gpu)
    measured = run_rounds(job, names, options.rounds, work)
    source = str(options.data) if options.data else "the demo's corpus, many times over"
    return summary(job, facts(job) | {"data": source}, measured)


def child(options: argparse.Namespace) -> int:
    """Measure one arm in this process."""
    from gpt2zh.ranks.logs import quiet_libraries

    quiet_libraries()
    from speed.job import Job
    from speed.measure import measure as measure_arm

    measure_arm(Job.read(options.job), options.child, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
