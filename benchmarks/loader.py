"""How fast rows become batches, and how soon the first is there: gpt2zh and other loaders.

    python -m benchmarks.loader --json out.json

Two sets of shards are made in a temporary folder. The large one (3 billion tokens) is for the start
only: its shards are one file under many names (hard links), so it takes the space of one; opening
them and ordering their rows costs as much as for different files. The other one (256 million
tokens) holds different random tokens and has just been written, so it is in the page cache; on it
the arms read rows in random order, each row once:

* `steps`: what training reads: `training_steps` with its thread, labels and counts.
* `mixture`: the same from two corpora, in sequences of a quarter of the length.
* `memmap`: crops of `np.memmap`, stacked, as in nanoGPT's get_batch, with labels.
* `DataLoader`: torch's, shuffled and without workers, around `datasets.Dataset.from_file` of all
  shards, with labels.

`start` opens the large set and brings the first step, `start-datasets` the same with the
DataLoader; both have imported everything before. Neither reads all bytes: a run does so on its
first rank to compare their sha256 (`--verify-data`), which depends on the disk.

Every arm is a new process, which maps each page that it reads for the first time, as in a first
epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Benchmark, Options, table
from benchmarks.harness.corpus import PAD, make_set
from gpt2zh.config.stages import Stages
from gpt2zh.data.batch import Batch
from gpt2zh.data.loader import Portions, training_steps
from gpt2zh.data.mixture import Mixture
from gpt2zh.data.shard import ShardSet
from gpt2zh.data.shard_data import Corpus, ShardData
from gpt2zh.ranks.world import World

GLOBAL_BATCH, MICRO_BATCH = 960, 32
Figures = dict[str, float]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--large", type=float, default=3e9, help="tokens of the set for the start")
    parser.add_argument("--tokens", type=float, default=256e6, help="tokens of the set to read")
    parser.add_argument("--shard", type=float, default=8e6, help="tokens of a shard")
    parser.add_argument("--row-length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--seconds", type=float, default=5.0, help="time limit of reading")
    parser.add_argument("--work", type=Path, help="folder for the sets")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), help="measure only these")


def measure(options: Options) -> dict[str, Any]:
    """Make both sets, and run every arm in a process of its own."""
    length, shard_rows = options.row_length, max(1, int(options.shard / options.row_length))
    found: dict[str, Any] = {"start": {}, "read": {}}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        large, real = Path(work) / "large", Path(work) / "real"
        make_set(large, int(options.large / length), shard_rows, length, linked=True)
        make_set(real, int(options.tokens / length), shard_rows, length, linked=False)
        for name in options.arms or ARMS:
            module = processes.child(
                "benchmarks.loader", name, f"--work={large if name in STARTS else real}"
            )
            figures = processes.start(processes.Start(module))
            found["start" if name in STARTS else "read"][name] = figures
        sets = {"large": ShardSet.open(large), "real": ShardSet.open(real)}
        return {
            "machine": machine.facts("torch", "datasets", "numpy"),
            **{"large": sets["large"].tokens, "tokens": sets["real"].tokens},
            "large_is": "one shard file under many names (hard links), in the page cache",
            "tokens_are": "random, different in all shards, in the page cache",
            "shards": {name: len(opened.shards) for name, opened in sets.items()},
            **{"row_length": length, "global_batch": GLOBAL_BATCH, "micro_batch": MICRO_BATCH},
            **found,
        }


def start_ours(folder: Path, options: Options) -> Figures:
    """Open the set and bring the first step."""

    def first(shards: ShardSet) -> Any:
        endless = steps(data_of(shards))
        next(endless)
        return endless

    return timed_start(folder, ShardSet.open, first)


def start_datasets(folder: Path, options: Options) -> Figures:
    """Open the set, shuffle it and bring one batch through a DataLoader."""

    def first(rows: Any) -> Any:
        return next(iter(shuffled(rows)))

    return timed_start(folder, open_datasets, first)


def read_steps(folder: Path, options: Options) -> Figures:
    """Read what training reads."""
    return timed(sizes_of(data_of(ShardSet.open(folder))), options)


def read_mixture(folder: Path, options: Options) -> Figures:
    """Read what training reads from two corpora, the halves of the set, in shorter sequences."""
    shards = ShardSet.open(folder)
    half = max(1, len(shards.shards) // 2)
    halves = [
        ShardSet(folder, shards.split, part, shards.manifest, shards.row_length)
        for part in (shards.shards[:half], shards.shards[half:])
        if part
    ]
    return timed(sizes_of(data_of(*halves, length=shards.row_length // 4)), options)


def read_memmap(folder: Path, options: Options) -> Figures:
    """Read rows of memory-mapped files, one by one, and stack them."""
    length = options.row_length
    # The tokens are at the end of each file, before a few bytes that close the stream.
    files = [np.memmap(name, np.uint16, "r") for name in sorted(folder.glob("*.arrow"))]
    random = np.random.default_rng(1)

    def batches() -> Iterator[int]:
        for _ in range(sum(len(f) for f in files) // length // MICRO_BATCH):
            crops = []
            for file in random.integers(0, len(files), MICRO_BATCH).tolist():
                begin = int(random.integers(0, len(files[file]) - length + 1))
                crops.append(torch.from_numpy(files[file][begin : begin + length].astype(np.int64)))
            yield label(torch.stack(crops))

    return timed(batches(), options)


def read_dataloader(folder: Path, options: Options) -> Figures:
    """Read through torch's DataLoader."""
    loader = shuffled(open_datasets(folder))
    return timed((label(batch["input_ids"]) for batch in loader), options)


def data_of(*parts: ShardSet, length: int = 0) -> ShardData:
    """Return shards as the data of a run; each part is a corpus, read as often as the others.

    Args:
        parts: Shards of one row length.
        length: Tokens of the sequences that rows are cut into; 0 for whole rows.
    """
    tokens: Any = SimpleNamespace(pad_id=PAD)  # all that batches need of a tokenizer
    return ShardData(
        [
            Corpus(str(number), part.folder, float(part.tokens), part.manifest, part, None)
            for number, part in enumerate(parts)
        ],
        tokens,
        seed=1,
        row_length=parts[0].row_length,
        lengths=Stages((length, sys.maxsize)) if length else Stages(),
        skipped=np.array([], np.int64),
    )


def steps(data: ShardData) -> Any:
    """Return the endless steps of one process that trains alone."""
    portions = Portions(GLOBAL_BATCH, MICRO_BATCH)
    cpu = torch.device("cpu")
    return training_steps(data, portions, first_step=1, start=0, world=World(), device=cpu)


def sizes_of(data: ShardData) -> Iterator[int]:
    """Yield the tokens of the steps of one epoch."""
    with contextlib.closing(steps(data)) as endless:
        step: list[Batch[torch.Tensor]]
        for step in itertools.islice(endless, -(-data.rows // GLOBAL_BATCH)):
            yield sum(batch.input_ids.numel() for batch in step)


def open_datasets(folder: Path) -> Any:
    """Return all shards as one data set of torch tensors."""
    datasets.disable_progress_bars()
    parts = [datasets.Dataset.from_file(str(path)) for path in sorted(folder.glob("*.arrow"))]
    return datasets.concatenate_datasets(parts).with_format("torch")


def shuffled(rows: Any) -> Iterable[dict[str, torch.Tensor]]:
    """Return torch's loader around a data set."""
    return DataLoader(rows, batch_size=MICRO_BATCH, shuffle=True)


def label(ids: torch.Tensor) -> int:
    """Make labels as ours do for a batch of the other loaders; return its tokens."""
    labels = ids.masked_fill(ids == PAD, -100)
    assert int((labels[:, 1:] != -100).sum()) > 0
    return ids.numel()


def timed_start(
    folder: Path, open_set: Callable[[Path], Any], first: Callable[[Any], Any]
) -> Figures:
    """Open a set and bring its first batch; `first` returns what to keep while the clock runs."""
    begin = time.perf_counter()
    rows = open_set(folder)
    opened = time.perf_counter()
    kept = first(rows)
    ready = time.perf_counter()
    del kept  # ends the thread that reads ahead
    return {"open": opened - begin, "first_step": ready - opened, "seconds": ready - begin}


def timed(batches: Iterator[int], options: Options) -> Figures:
    """Read until the end, or until the time limit; the first batch is not counted."""
    next(batches)
    tokens, begin = 0, time.perf_counter()
    for size in batches:
        tokens += size
        if time.perf_counter() - begin > options.seconds:
            break
    seconds = max(time.perf_counter() - begin, 1e-9)
    return {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}


STARTS = {"start": start_ours, "start-datasets": start_datasets}
ARMS: dict[str, Callable[[Path, Options], Figures]] = {
    **STARTS,
    "steps": read_steps,
    "mixture": read_mixture,
    "memmap": read_memmap,
    "DataLoader": read_dataloader,
}


def markdown(report: dict[str, Any]) -> str:
    """Return the tables."""
    starts = [
        [name, *(f"{figures[key]:.3f}" for key in ("seconds", "open", "first_step"))]
        for name, figures in report["start"].items()
    ]
    ours = report["read"].get("steps", {}).get("tokens_per_second", math.nan)
    rates = {name: figures["tokens_per_second"] for name, figures in report["read"].items()}
    reads = [[name, f"{rate / 1e6:.1f}", f"{rate / ours:.3f}"] for name, rate in rates.items()]
    return (
        f"{machine.heading(report['machine'])} Rows of {report['row_length']} tokens.\n\n"
        f"Start on {report['large'] / 1e9:.2f} billion tokens in {report['shards']['large']} "
        f"shards ({report['large_is']}):\n\n"
        f"{table(['arm', 'seconds', 'open', 'first batch'], starts)}\n\n"
        f"Read {report['tokens'] / 1e6:.0f} M tokens in random order, one process "
        f"({report['tokens_are']}):\n\n"
        f"{table(['arm', 'M tokens/s', 'of `steps`'], reads)}\n"
    )


BENCHMARK = Benchmark(
    __doc__, add_options, measure, markdown, arm=lambda o: ARMS[o.child](o.work, o)
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
