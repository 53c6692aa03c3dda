"""How fast text becomes packed rows: gpt2zh and `datasets.map` as in run_clm, in one run.

    python -m benchmarks.prepare --input 'corpus/**/*.csv' --tokenizer vocab.txt --json out.json

Arms, each a new process with its own cold caches, pinned to the first core except `prepare_n`:

* `datasets`: tokenize, group into rows, save to disk as Hugging Face's run_clm.py does, with one
  process, on a sample of the files (it is slow); its output is counted on the disk.
* `encode_batch`: Hugging Face's `Tokenizer.encode_batch` alone, on the documents of the sample.
* `encode`, `encode_warm`: our encoder alone on the same documents, for the first time and again.
* `prepare`: `python -m data_tools prepare --workers 1`, the whole command with its start.
* `prepare_n`: the same with N workers, on all cores.

Rates are MB of input files per second (of the encoders alone: of UTF-8 text). Compare the ratios:
the clock of a shared machine is not reliable.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, say, table
from benchmarks.harness.corpus import take_sample, texts_of
from data_tools.sources.block import join_spans
from data_tools.sources.find import find_files
from gpt2zh.text.spans import make_encoder
from gpt2zh.text.tokenizer import load_tokenizer

_ROW = 512  # tokens
THREADS = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--input", required=True, help="quoted glob of CSV files")
    parser.add_argument("--column", default="content", help="column of the text")
    parser.add_argument("--tokenizer", default="builtin", help="as for data_tools prepare")
    parser.add_argument("--sample", type=float, default=20.0, help="MB for the slow arms")
    parser.add_argument("--workers", type=int, default=2, help="processes of the last arm")
    parser.add_argument("--work", type=Path, help="folder for temporary files")


def measure(options: Options) -> dict[str, Any]:
    """Take the sample, and run every arm in a process of its own."""
    files = find_files([options.input])
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        sample = Path(folder) / "sample"
        take_sample(files, sample, options.sample * 1e6)
        for name in ARMS:
            say(f"... {name}")
            source = options.input if name.startswith("prepare") else sample
            with tempfile.TemporaryDirectory(dir=folder) as out:
                caches = {"HF_HOME": f"{out}/hf", "HF_DATASETS_CACHE": f"{out}/hf/datasets"}
                own = (f"--input={source}", f"--work={out}")
                module = processes.child("benchmarks.prepare", name, *own)
                found[name] = processes.start(processes.Start(module, THREADS | caches))
    facts = machine.facts("numpy", "pyarrow", "tokenizers", "datasets")
    return {"machine": facts, "arms": found}


def arm(options: Options) -> dict[str, Any]:
    """Measure one arm in this process."""
    if options.child != "prepare_n":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = ARMS[options.child](options, find_files([options.input]))
    return found | {"cores": len(os.sched_getaffinity(0))}


def arm_datasets(options: Options, files: list[Path]) -> dict[str, Any]:
    """Tokenize, group and save as run_clm.py does."""
    import datasets

    tokenizer = load_tokenizer(options.tokenizer)._backend
    datasets.disable_progress_bars()
    column, names = options.column, [str(path) for path in files]
    begun = time.perf_counter()
    raw = datasets.load_dataset("csv", data_files=names, usecols=[column], split="train")

    def tokenize(examples: dict[str, Any]) -> dict[str, Any]:
        texts = [text or "" for text in examples[column]]
        return {"input_ids": [e.ids for e in tokenizer.encode_batch(texts)]}

    def group(examples: dict[str, Any]) -> dict[str, Any]:
        flat = list(itertools.chain(*examples["input_ids"]))
        rows = [flat[i : i + _ROW] for i in range(0, len(flat) // _ROW * _ROW, _ROW)]
        return {"input_ids": rows, "labels": [list(row) for row in rows]}

    tokens = raw.map(tokenize, batched=True, remove_columns=raw.column_names)
    rows = tokens.map(group, batched=True)
    rows.save_to_disk(str(options.work / "saved"))
    found = rate(size_of(files), begun)
    return found | {"disk_mb": size_of(options.work.rglob("*")) / 1e6, "tokens": len(rows) * _ROW}


def arm_encode_batch(options: Options, files: list[Path]) -> dict[str, Any]:
    """Let Hugging Face encode the documents, and nothing else."""
    texts = list(texts_of(files, options.column))
    tokenizer = load_tokenizer(options.tokenizer)._backend
    begun = time.perf_counter()
    for i in range(0, len(texts), 1000):
        tokenizer.encode_batch(texts[i : i + 1000])
    return rate(sum(len(text.encode()) for text in texts), begun)


def arm_encode(options: Options, files: list[Path], *, warm: bool = False) -> dict[str, Any]:
    """Let our encoder encode the same documents, with cold or with warm tables."""
    texts = texts_of(files, options.column)
    data, begins, ends = join_spans([text.encode() for text in texts])
    tokenizer = load_tokenizer(options.tokenizer)
    encoder = make_encoder(tokenizer)
    encoder.encode(data[:0], begins[:0], ends[:0], closing_id=tokenizer.eos_id)  # load kernels
    for _ in range(1 + warm):
        begun = time.perf_counter()
        for i in range(0, len(begins), 5000):
            part = slice(i, i + 5000)
            encoder.encode(data, begins[part], ends[part], closing_id=tokenizer.eos_id)
    return rate(len(data), begun)


def arm_prepare(options: Options, files: list[Path], workers: int = 1) -> dict[str, Any]:
    """Run `data_tools prepare` as a user does, and look at what it wrote."""
    shards = options.work / "shards"
    arguments = [sys.executable, "-m", "data_tools", "prepare", f"--input={options.input}"]
    arguments += [f"--output={shards}", f"--tokenizer={options.tokenizer}"]
    arguments += [f"--content-column={options.column}", f"--workers={workers}"]
    begun = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    found = rate(size_of(files), begun)
    manifest = json.loads((shards / "manifest.json").read_text("utf-8"))
    tokens = sum(split["tokens"] for split in manifest["splits"].values())
    return found | {
        "tokens": tokens,
        "bytes_per_token": size_of(shards.rglob("*")) / tokens,
        "peak_mb_of_largest_process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
        "workers": workers,
    }


ARMS: dict[str, Callable[[Options, list[Path]], dict[str, Any]]] = {
    "datasets": arm_datasets,
    "encode_batch": arm_encode_batch,
    "encode": arm_encode,
    "encode_warm": lambda options, files: arm_encode(options, files, warm=True),
    "prepare": arm_prepare,
    "prepare_n": lambda options, files: arm_prepare(options, files, options.workers),
}


def rate(size: int, begun: float) -> dict[str, Any]:
    """Return the figures of an arm that began to work on `size` bytes at `begun` and ends now."""
    seconds = time.perf_counter() - begun
    return {"mb": size / 1e6, "seconds": seconds, "mb_per_s": size / seconds / 1e6}


def size_of(files: Iterable[Path]) -> int:
    """Return the bytes of files."""
    return sum(path.stat().st_size for path in files if path.is_file())


def markdown(report: dict[str, Any]) -> str:
    """Return the table."""
    rows, slow = [], report["arms"]["datasets"]["mb_per_s"]
    for name, figures in report["arms"].items():
        rest = {key: round(value, 3) for key, value in figures.items() if not key.startswith("mb")}
        details = ", ".join(f"{key} {value}" for key, value in rest.items())
        rate = figures["mb_per_s"]
        rows.append([name, f"{rate:.1f}", f"{rate / slow:.2f}", f"{figures['mb']:.0f}", details])
    columns = ("arm", "MB/s", "times `datasets`", "of MB", "details")
    return f"{machine.heading(report['machine'])}\n\n{table(columns, rows)}\n"


BENCHMARK = Benchmark(__doc__, add_options, measure, markdown, arm)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
