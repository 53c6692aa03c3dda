r"""What a recipe is worth: zero_nlp's and ours, from text to bits per character of held-out text.

    python -m benchmarks.time_to_loss --input 'corpus/**/*.csv' --tokenizer vocab.txt \
        --preset small --tokens 400000000 --work work/ --json out.json     # on a GPU
    python -m benchmarks.time_to_loss --input 'corpus/**/*.csv' --tokenizer vocab.txt
    python -m benchmarks.time_to_loss --table out.json                     # the tables once more

Every arm is prepared and trained by the project's own commands, once with each seed:

* `seed`: configs/zero_nlp-3090.yaml with its packing, dropout 0.1, and its schedule scaled to the
  budget. `seed-lr` has our learning rate and warm-up, because the seed's were meant for a larger
  model and batch than the tiny preset.
* `ours`: the same tokenizer and batch; full packing, no dropout, tuned learning rate, decay to 0.
  `ours-half` and `ours-third` have that part of the budget, to which their schedule is scaled: the
  honest answer to "as good in a third of the time".
* `ours-muon` and `ours-muon-third`: the same with Muon. `ours-builtin`: the lossless tokenizer,
  whose tokens are longer.

All read the same text except the held-out documents, and are scored on those: bits per character of
all tokens of their text, each predicted once, special tokens never. BERT's vocabulary maps some
characters to the same token, and what it loses costs nothing: compare arms of the same tokenizer.

Time is that of training alone: no validation, saving, start or compilation. All arms run on our
engine. benchmarks.throughput measures what zero_nlp's software costs; the product of the two is an
estimate, not a measurement. Seconds on a shared CPU are noisy, tokens are not.

A start with the same --work continues where the last one ended. The arms train 6.2 budgets with
each seed. Ours at `small` has values from publications; `--ours` tries others.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import machine
from benchmarks.harness.cli import Benchmark, Options
from benchmarks.harness.machine import ROOT
from benchmarks.time_to_loss import recipes, report
from benchmarks.time_to_loss.held_out import held_out_texts, lost_share
from benchmarks.time_to_loss.runs import Run
from gpt2zh.data.manifest import read_manifest
from gpt2zh.text.tokenizer import load_tokenizer

OURS = "options of ours instead of the preset's, such as optimizer.lr=0.001"
PACKAGES = ("torch", "transformers", "deepspeed", "numpy")
HELD_OUT_CHARACTERS = 200_000  # the most that are scored


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--input", nargs="+", default=[str(ROOT / "demo" / "corpus" / "**/*.csv")])
    parser.add_argument("--tokenizer", default="bert-base-chinese", help="with [CLS] and [SEP]")
    parser.add_argument("--preset", choices=sorted(recipes.PRESETS), default="tiny")
    parser.add_argument("--tokens", type=int, help="the budget of a run instead of the preset's")
    names = list(recipes.ARMS)
    parser.add_argument("--arms", nargs="+", choices=names, default=names)
    parser.add_argument("--ours", nargs="+", default=[], metavar="NAME=VALUE", help=OURS)
    parser.add_argument("--seeds", default="1,2", help="numbers with commas")
    parser.add_argument("--held-out", type=float, default=0.005, help="share of the documents")
    parser.add_argument("--work", type=Path, help="folder for shards and runs; kept if given")


def compare(options: Options) -> dict[str, Any]:
    """Make the comparison in the folder that the options give, or in a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        return compare_in((options.work or Path(temporary)).resolve(), options)


def compare_in(work: Path, options: Options) -> dict[str, Any]:
    """Prepare the text in a folder, make the runs that it lacks, and return all results."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.init()  # now, so that the first run has as little free memory as the others
    preset = preset_of(options)
    runs = [
        Run(preset=preset, work=work, name=name, seed=int(seed), on_gpu=on_gpu)
        for name in options.arms
        for seed in options.seeds.split(",")
    ]
    for run in runs:  # before hours are spent: a result of other options is an error
        run.earlier()
    arms = [recipes.ARMS[name] for name in options.arms]
    for kind in sorted({("builtin", "full"), *((arm.tokenizer, arm.packing) for arm in arms)}):
        prepare(options, work, *kind)
    shards = work / "data" / "builtin-full"  # this tokenizer loses nothing of the held-out text
    texts = held_out_texts(shards, characters=HELD_OUT_CHARACTERS)
    return {
        "machine": machine.facts(*PACKAGES, on_gpu=on_gpu),
        "preset": dataclasses.asdict(preset),
        "text": {
            "megabytes": sum(source.bytes for source in read_manifest(shards).sources) / 1e6,
            "documents": len(texts),
            "characters": sum(map(len, texts)),
            "lost_share": lost_share(load_tokenizer(options.tokenizer), texts),
        },
        "runs": [run.earlier() or run.make(texts) for run in runs],
    }


def preset_of(options: Options) -> recipes.Preset:
    """Return the preset with what the options change in it."""
    preset = recipes.PRESETS[options.preset]
    changed = dict(text.split("=", 1) for text in options.ours)
    return dataclasses.replace(
        preset, tokens=options.tokens or preset.tokens, ours={**preset.ours, **changed}
    )


def prepare(options: Options, work: Path, tokenizer: str, packing: str) -> None:
    """Make a folder of shards; if it is complete, only its files and options are compared.

    Raises:
        SystemExit: It failed, or the folder holds shards of other files or options.
    """
    command = [
        *(sys.executable, "-m", "data_tools", "prepare", "--input", *options.input),
        f"--output={work / 'data' / f'{tokenizer}-{packing}'}",
        f"--tokenizer={options.tokenizer if tokenizer == 'given' else tokenizer}",
        f"--packing={packing}",
        f"--row-length={recipes.PRESETS[options.preset].model['context']}",
        f"--validation-fraction={options.held_out}",
    ]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise SystemExit(
            f"error: prepare failed; the reason is above. If {work} holds another comparison, give "
            "another --work"
        )


BENCHMARK = Benchmark(__doc__, add_options, compare, report.markdown)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
