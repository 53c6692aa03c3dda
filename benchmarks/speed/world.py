"""What a run needs before the first arm: rows, weights, and the names of everything."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.data.shard import ShardSet
from gpt2zh.text.tokenizer import load_tokenizer
from speed.job import Job

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("torch", "transformers", "accelerate", "deepspeed", "datasets", "numpy", "triton"),
    *("nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-nccl-cu12"),
)
_CHARACTERS_PER_TOKEN = 1.6  # at most, of the demo's corpus


def make_job(options: argparse.Namespace, work: Path, *, on_gpu: bool) -> Job:
    """Prepare rows and initial weights in a folder, and describe the run."""
    shards = options.data
    if shards is None:
        steps = options.warmup + options.steps + 1
        shards = work / "shards"
        rows = steps * options.global_batch
        demo_shards(shards, rows=rows, row_length=options.context, vocabulary=options.vocabulary)
    job = Job(
        shards=str(Path(shards).resolve()),
        weights=str(work / "weights"),
        layers=options.layers,
        heads=options.heads,
        width=options.width,
        context=options.context,
        global_batch=options.global_batch,
        micro_batch=options.micro_batch,
        warmup=options.warmup,
        steps=options.steps,
        on_gpu=on_gpu,
        compile=options.compile == "on" or (options.compile == "auto" and on_gpu),
        precision=options.precision or ("" if on_gpu else "fp32"),
        log_every=options.log_every,
        workers=min(4, len(os.sched_getaffinity(0))),
    )
    save_weights(job)
    job.write(work / "job.json")
    return job


def demo_shards(folder: Path, *, rows: int, row_length: int, vocabulary: int) -> None:
    """Pack the demo's corpus as often as so many rows need.

    Every time its documents come in another order, so hardly two rows are equal. Without a
    vocabulary (0) the builtin tokenizer encodes them, else a new one with so many ids.
    """
    from data_tools.config import PrepareConfig, TrainTokenizerConfig
    from data_tools.prepare.run import run as prepare
    from data_tools.train_tokenizer import run as train_tokenizer

    corpus, tokenizer = ROOT / "demo" / "corpus", "builtin"
    if vocabulary:
        tokenizer = str(folder.parent / "tokenizer")
        train_tokenizer(
            TrainTokenizerConfig(
                input=(f"{corpus}/**/*.csv",),
                output=Path(tokenizer),
                vocab_size=vocabulary,
                alphabet="corpus",
            )
        )
    texts = []
    for path in sorted(corpus.rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts += [line["content"] for line in csv.DictReader(file)]
    characters = rows * row_length * _CHARACTERS_PER_TOKEN
    source = folder.parent / "demo.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content"])
        for seed in range(1 + int(characters / sum(map(len, texts)))):
            random.Random(seed).shuffle(texts)
            writer.writerows([text] for text in texts)
    prepare(
        PrepareConfig(
            input=(str(source),),
            output=folder,
            tokenizer=tokenizer,
            row_length=row_length,
            validation_fraction=0.02,
            exact_duplicates="keep",
        )
    )
    source.unlink()


def save_weights(job: Job) -> None:
    """Write the weights that all arms begin with; a run of gpt2zh makes the same from its seed."""
    from transformers.utils import logging

    from gpt2zh.model.build import new_model

    logging.disable_progress_bar()
    model = new_model(job.model, load_tokenizer(_tokenizer(job)), seed=job.seed)
    model.save_pretrained(job.weights)


def facts(job: Job) -> dict[str, Any]:
    """Where and with what the run was made, and what follows from its shape."""
    from gpt2zh.model import shape

    vocabulary = shape.padded_vocabulary(load_tokenizer(_tokenizer(job)).vocab_size)
    pad = load_tokenizer(_tokenizer(job)).pad_id
    rows = job.all_rows().reshape(job.total_steps, job.global_batch, job.context)
    window = rows[job.warmup : job.warmup + job.steps]
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: text for name in PACKAGES if (text := _version(name))},
        "commit": commit(),
        "vocabulary": vocabulary,
        "parameters": shape.parameters(job.model, vocabulary),
        "flops_per_token": shape.flops_per_token(job.model, vocabulary),
        "tokens_per_step": float(np.count_nonzero(window != pad) / job.steps),
        "rows_in_data": ShardSet.open(Path(job.shards), row_length=job.context).rows,
    }


def commit() -> str | None:
    """The commit of this checkout, marked if files differ from it; None without git."""
    try:
        asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
        done = subprocess.run([*asked, "--exclude=*"], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _tokenizer(job: Job) -> str:
    return str(Path(job.shards) / TOKENIZER_DIR)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
