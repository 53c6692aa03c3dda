"""How fast rows become batches, and how soon the first is there: gpt2zh and other loaders.

    python -m benchmarks.loader --json out.json

A set of shards with different random tokens is made in a temporary folder; it has just been
written, so it is in the page cache. The arms read one epoch of rows in random order:

* `gpt2zh`: what training reads: `training_steps` with its thread, labels and counts.
* `memmap`: crops of `np.memmap`, stacked, as in nanoGPT's get_batch, with labels.
* `DataLoader`: torch's, shuffled and without workers, around `datasets.Dataset.from_file` of all
  shards, with labels.

`start` is the time from opening the set to the first batch, or to the first step of ours; all
imports are done before. No arm reads all bytes at its start: a run does so on its first rank to
compare their sha256 (`--verify-data`), which depends on the disk. `--tokens 3e9` measures the start
on a large set, and takes 6 GB.

Every arm is a new process, which maps each page that it reads for the first time, as in an epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, table
from gpt2zh.config.stages import Stages
from gpt2zh.data.loader import Portions, training_steps
from gpt2zh.data.manifest import write_manifest
from gpt2zh.data.shard import ShardSet, write_shard
from gpt2zh.data.shard_data import Corpus, ShardData
from gpt2zh.ranks.world import World
from tests.support.shard_sets import HASH, PAD, make_manifest, make_rows

SHARDS, GLOBAL_BATCH, MICRO_BATCH = 32, 960, 32


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--tokens", type=float, default=256e6, help="tokens of the set")
    parser.add_argument("--row-length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--seconds", type=float, default=5.0, help="time limit of reading")
    parser.add_argument("--work", type=Path, help="folder for the set")


def measure(options: Options) -> dict[str, Any]:
    """Make the set, and run every arm in a process of its own."""
    length = options.row_length
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = Path(work) / "shards"
        make_set(folder, int(options.tokens / length), length)
        found = {}
        for name in ARMS:
            module = processes.child("benchmarks.loader", name, f"--work={folder}")
            found[name] = processes.start(processes.Start(module))
        shards = ShardSet.open(folder)
        return {
            "machine": machine.facts("torch", "datasets", "numpy"),
            **{"tokens": shards.tokens, "shards": len(shards.shards), "row_length": length},
            "arms": found,
        }


def make_set(folder: Path, rows: int, length: int) -> None:
    """Write shards with random tokens."""
    folder.mkdir()
    entries = []
    for number in range(SHARDS):
        tokens = make_rows(rows // SHARDS, seed=number, length=length)
        path = folder / f"train-{number:05d}.arrow"
        entries.append(write_shard(path, tokens, tokenizer_hash=HASH))
    write_manifest(folder, make_manifest(tuple(entries), row_length=length))


def arm(options: Options) -> dict[str, float]:
    """Read with one arm until the end, or for some seconds; the first batch is the start."""
    batches, opened = ARMS[options.child](options.work, options.row_length), time.perf_counter()
    next(batches)
    tokens, begun = 0, time.perf_counter()
    for size in batches:
        tokens += size
        if time.perf_counter() - begun > options.seconds:
            break
    seconds = max(time.perf_counter() - begun, 1e-9)
    rate = tokens / seconds
    return {
        "start": begun - opened,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": rate,
    }


def read_steps(folder: Path, length: int) -> Iterator[int]:
    """Yield the tokens of the steps of one epoch of a process that trains alone."""
    shards = ShardSet.open(folder)
    # All that batches need of a tokenizer.
    tokens: Any = SimpleNamespace(pad_id=PAD, vocab_size=shards.manifest.tokenizer.vocab_size)
    data = ShardData(
        [Corpus("all", folder, 1.0, shards.manifest, shards, None)],
        tokens,
        seed=1,
        row_length=length,
        lengths=Stages(),
        skipped=np.array([], np.int64),
    )
    portions, cpu = Portions(GLOBAL_BATCH, MICRO_BATCH), torch.device("cpu")
    endless = training_steps(data, portions, first_step=1, start=0, world=World(), device=cpu)
    with contextlib.closing(endless):  # ends the thread that reads ahead
        for step in itertools.islice(endless, math.ceil(shards.rows / GLOBAL_BATCH)):
            yield sum(batch.input_ids.numel() for batch in step)


def read_memmap(folder: Path, length: int) -> Iterator[int]:
    """Yield the tokens of batches whose rows are read from mapped files, one by one."""
    # The tokens are at the end of each file, before a few bytes that close the stream.
    files = [np.memmap(name, np.uint16, "r") for name in sorted(folder.glob("*.arrow"))]
    random = np.random.default_rng(1)
    for _ in range(sum(map(len, files)) // length // MICRO_BATCH):
        crops = []
        for number in random.integers(0, len(files), MICRO_BATCH).tolist():
            begin = int(random.integers(0, len(files[number]) - length + 1))
            crop = files[number][begin : begin + length]
            crops.append(torch.from_numpy(crop.astype(np.int64)))
        yield label(torch.stack(crops))


def read_dataloader(folder: Path, length: int) -> Iterator[int]:
    """Yield the tokens of the batches of torch's DataLoader."""
    datasets.disable_progress_bars()
    parts = [datasets.Dataset.from_file(str(path)) for path in sorted(folder.glob("*.arrow"))]
    rows = datasets.concatenate_datasets(parts).with_format("torch")
    for batch in DataLoader(rows, batch_size=MICRO_BATCH, shuffle=True):
        yield label(batch["input_ids"])


def label(ids: torch.Tensor) -> int:
    """Make labels as ours do for a batch of the other loaders; return its tokens."""
    labels = ids.masked_fill(ids == PAD, -100)
    assert int((labels[:, 1:] != -100).sum()) > 0
    return ids.numel()


ARMS: dict[str, Callable[[Path, int], Iterator[int]]] = {
    "gpt2zh": read_steps,
    "memmap": read_memmap,
    "DataLoader": read_dataloader,
}


def markdown(report: dict[str, Any]) -> str:
    """Return the table."""
    ours, rows = report["arms"]["gpt2zh"]["tokens_per_second"], []
    for name, figures in report["arms"].items():
        rate = figures["tokens_per_second"]
        rows.append([name, f"{figures['start']:.3f}", f"{rate / 1e6:.1f}", f"{rate / ours:.3f}"])
    return (
        f"{machine.heading(report['machine'])}\n{report['tokens'] / 1e6:.0f} M random tokens, "
        f"different in all of {report['shards']} shards, in the page cache; rows of "
        f"{report['row_length']} tokens in random order; one process.\n\n"
        f"{table(['arm', 'start s', 'M tokens/s', 'of gpt2zh'], rows)}\n"
    )


BENCHMARK = Benchmark(__doc__, add_options, measure, markdown, arm)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
