r"""What a recipe is worth: zero_nlp's and ours, from text to bits per character of held-out text.

    python -m benchmarks.time_to_loss --input 'corpus/**/*.csv' --tokenizer vocab.txt \
        --preset small --tokens 400000000 --work work/ --json out.json     # on a GPU
    python -m benchmarks.time_to_loss --input 'corpus/**/*.csv' --tokenizer vocab.txt --jobs 2
    python -m benchmarks.time_to_loss --table out.json                     # the tables once more

Every arm is prepared and trained by the project's own commands, once with each seed:

* `seed`: configs/zero_nlp-3090.yaml with its packing, dropout 0.1, and its schedule scaled to the
  budget. `seed-lr` has our learning rate and warm-up, because the seed's were meant for a larger
  model and batch than the tiny preset; `seed-full` and `seed-dropout` differ in one thing, too.
* `ours`: the same tokenizer and batch; full packing, no dropout, tuned learning rate, decay to 0.
  `ours-half` and `ours-third` have that part of the budget, to which their schedule is scaled: the
  honest answer to "as good in a third of the time".
* `ours-muon` and `ours-muon-third`: the same with Muon. `ours-builtin`, `ours-builtin-third` and
  `ours-muon-builtin`: the lossless tokenizer, whose tokens are longer. `ours-lengths`: short
  sequences first.

All read the same text except the held-out documents, and are scored on those: bits per character of
all tokens of their text, each predicted once, special tokens never. BERT's vocabulary maps some
characters to the same token, and what it loses costs nothing: compare arms of the same tokenizer.

Time is that of training alone: no validation, saving, start or compilation. All arms run on our
engine. benchmarks.throughput measures what zero_nlp's software costs; the product of the two is an
estimate, not a measurement. Seconds on a shared CPU are noisy, tokens are not.

A start with the same --work continues where the last one ended. The default arms train 6.2 budgets
with each seed. Ours at `small` has values from publications; `--ours` tries others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, say
from benchmarks.harness.machine import ROOT
from benchmarks.time_to_loss import recipes, report
from benchmarks.time_to_loss.job import Job

OURS = "options of ours instead of the preset's, such as optimizer.lr=0.001"
JOB, TEXT = "job.json", "text.json"
PACKAGES = ("torch", "transformers", "deepspeed", "numpy")
# One thread a run; and freed memory is kept, else a quarter of the time goes into getting the pages
# of the logits back from the system in every step.
ON_CPU = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is not given of the shape is the preset's."""
    parser.add_argument("--input", nargs="+", default=[str(ROOT / "demo" / "corpus" / "**/*.csv")])
    parser.add_argument("--tokenizer", default="bert-base-chinese", help="with [CLS] and [SEP]")
    parser.add_argument("--preset", choices=sorted(recipes.PRESETS), default="tiny")
    for name in ("layers", "heads", "width", "context", "rows", "tokens"):
        parser.add_argument(f"--{name}", type=int, help="instead of the preset's")
    known = sorted(recipes.ARMS)
    parser.add_argument("--arms", nargs="+", choices=known, default=list(recipes.MAIN))
    parser.add_argument("--ours", nargs="+", default=[], metavar="NAME=VALUE", help=OURS)
    parser.add_argument("--seeds", default="1,2", help="numbers with commas")
    parser.add_argument("--points", type=int, default=8, help="scores of a run")
    parser.add_argument("--held-out", type=float, default=0.005, help="share of the documents")
    parser.add_argument(
        "--held-out-characters", type=int, default=200_000, help="most characters to score"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, for a CPU")
    parser.add_argument("--work", type=Path, help="folder for shards and runs; kept if given")


def compare(options: Options) -> dict[str, Any]:
    """Prepare the text, make all runs that are not complete, and return all results."""
    import torch

    from benchmarks.time_to_loss.runs import finished, same_command

    on_gpu = torch.cuda.is_available()
    pairs = [(name, int(seed)) for name in options.arms for seed in options.seeds.split(",")]
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work = work.resolve()
        job = Job.of(options, on_gpu=on_gpu)
        job.keep(work / JOB)
        prepare_all(job, work, options.arms)
        for arm, seed in pairs:  # before hours are spent on the others
            if (run := finished(work, arm, seed)) and not same_command(run, job, work):
                raise SystemExit(
                    f"error: {arm}, seed {seed}, was run with other options; give another --work"
                )
        missing = [pair for pair in pairs if not finished(work, *pair)]
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                list(pool.map(lambda pair: start(work, *pair, on_gpu=on_gpu), missing))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {
            "machine": machine.facts(*PACKAGES, on_gpu=on_gpu),
            "jobs": options.jobs,
            "job": asdict(job),
            **json.loads((work / TEXT).read_text("utf-8")),
            "runs": [found for pair in pairs if (found := finished(work, *pair))],
        }


def prepare_all(job: Job, work: Path, names: list[str]) -> None:
    """Make the shards of these arms, the held-out text, and the facts of both."""
    # The builtin tokenizer loses nothing, so the held-out text is read back from its shards.
    kinds = {"builtin-full", "given-full", *(recipes.ARMS[name].data for name in names)}
    for kind in sorted(kinds):
        prepare(job, kind, job.data(work, kind))
    if not (work / TEXT).exists():
        (work / TEXT).write_text(json.dumps(describe(job, work), ensure_ascii=False), "utf-8")


def prepare(job: Job, kind: str, folder: Path) -> None:
    """Make one folder of shards, if it is not there."""
    if (folder / "manifest.json").exists():
        return
    tokenizer, _, packing = kind.partition("-")
    command = [
        *(sys.executable, "-m", "data_tools", "prepare", "--input", *job.input),
        f"--output={folder}",
        f"--tokenizer={job.tokenizer if tokenizer == 'given' else 'builtin'}",
        f"--packing={packing}",
        f"--row-length={job.context}",
        f"--validation-fraction={job.held_out}",
    ]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise SystemExit(f"error: prepare failed: {' '.join(command[1:])}")


def describe(job: Job, work: Path) -> dict[str, Any]:
    """Choose and write the held-out text; return facts of it and of the tokenizers on it."""
    from benchmarks.time_to_loss.held_out import all_texts, held_out_text, lost_share
    from benchmarks.time_to_loss.runs import HELD_OUT
    from gpt2zh.data.manifest import TOKENIZER_DIR, read_manifest
    from gpt2zh.text.tokenizer import load_tokenizer

    folders = {kind: job.data(work, f"{kind}-full") for kind in ("given", "builtin")}
    tokenizers = {name: load_tokenizer(path / TOKENIZER_DIR) for name, path in folders.items()}
    held_out = held_out_text(
        folders["builtin"],
        tokenizers["builtin"],
        tokenizers["given"],
        characters=job.held_out_characters,
        row_length=job.context,
    )
    texts = list(all_texts(held_out))
    if not texts:
        raise SystemExit("error: no document is held out; give a larger --held-out")
    held_out.write(work / HELD_OUT)
    characters = sum(map(len, texts))
    sources = read_manifest(folders["builtin"]).sources
    return {
        "text": {
            "megabytes": sum(source.bytes for source in sources) / 1e6,
            "files": len(sources),
            "documents": len(texts),
            "characters": characters,
            "long_share": sum(map(len, held_out.long)) / characters,
        },
        "tokenizers": {
            name: {
                "lost": lost_share(tokenizer, texts),
                "tokens_per_character": sum(map(len, tokenizer.encode_batch(texts))) / characters,
                "vocabulary": tokenizer.vocab_size,
            }
            for name, tokenizer in tokenizers.items()
        },
    }


def start(work: Path, name: str, seed: int, *, on_gpu: bool) -> None:
    """Make one run in a process of its own; its output is kept in the folder `logs`."""
    say(f"{name}, seed {seed}")
    module = ("-m", "benchmarks.time_to_loss", f"--child={name}:{seed}", f"--work={work}")
    log = work / "logs" / f"{name}-{seed}.txt"
    log.parent.mkdir(exist_ok=True)
    how = processes.Start(module, {} if on_gpu else ON_CPU, log=log, patience=None)
    try:
        processes.start(how)
    except processes.ArmError as error:
        raise SystemExit(f"error: {name}, seed {seed}: {error}; the whole log is {log}") from None


def arm(options: Options) -> dict[str, Any]:
    """Make one run in this process."""
    from transformers.utils import logging

    from benchmarks.time_to_loss.runs import run

    logging.disable_progress_bar()
    name, _, seed = options.child.partition(":")
    return run(Job.read(options.work / JOB), options.work, name, int(seed))


BENCHMARK = Benchmark(__doc__, add_options, compare, report.markdown, arm)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
