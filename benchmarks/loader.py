"""How fast rows become batches, and how soon the first is there: gpt2zh beside its peers.

    python benchmarks/loader.py --json out.json

Two sets of shards are made in a temporary folder. The large one (3 billion tokens) is for the
start only: its shards are one file under many names (hard links), so that it takes the space of
one; opening them and ordering their rows costs what it would cost for different files. The other
one (256 million tokens) holds different random tokens and has just been written, so it lies in the
page cache; on it the arms read rows in random order, each row once:

* `rows`: the order and the rows alone, one thread.
* `steps`: what training reads: `training_steps` with its thread, labels and counts.
* `mixture`: the same from two corpora, in sequences of a quarter of the length.
* `memmap`: crops of `np.memmap`, stacked, as nanoGPT's get_batch does it, with labels.
* `datasets`: `datasets.Dataset.from_file` of all shards, indexed by 32 random numbers, with labels.
* `DataLoader`, `DataLoader-x1`: torch's, shuffled, around the same data set, without a worker and
  with one.

`start` opens the large set and brings the first step, `start-datasets` the same with `datasets` and
a DataLoader; both have imported everything before. Neither reads all bytes: a run does so on its
first rank to compare their sha256 (`--verify-data`), which the disk decides.

Every arm is a fresh process, which has yet to map each page it reads, as in a first epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.data.manifest import (  # noqa: E402
    Manifest,
    Split,
    SplitRule,
    TokenizerInfo,
    write_manifest,
)
from gpt2zh.data.mixture import Mixture  # noqa: E402
from gpt2zh.data.rows import Rows  # noqa: E402
from gpt2zh.data.shard import TRAIN, VALIDATION, ShardSet, write_shard  # noqa: E402

VOCABULARY, PAD, HASH = 32_000, 2, "0" * 64
GLOBAL_BATCH, MICRO_BATCH = 960, 32


def main() -> int:
    """Make the sets, run the arms and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=float, default=3e9, help="tokens of the set for the start")
    parser.add_argument("--tokens", type=float, default=256e6, help="tokens of the set to read")
    parser.add_argument("--shard", type=float, default=8e6, help="tokens of a shard")
    parser.add_argument("--row-length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--seconds", type=float, default=5.0, help="an arm reads at most so long")
    parser.add_argument("--work", type=Path, help="folder for the sets")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--arms", nargs="*", help="only these, by name")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(ARMS[options.arm](options.work, options)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        report = measure(options, Path(work))
    print_table(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Make both sets, run every arm in a process of its own, and return all figures."""
    length, shard_rows = options.row_length, max(1, int(options.shard / options.row_length))
    large, real = work / "large", work / "real"
    make_set(large, int(options.large / length), shard_rows, length, linked=True)
    make_set(real, int(options.tokens / length), shard_rows, length, linked=False)
    names = ("machine", "system", "python", "torch", "datasets", "numpy")
    values = (processor(), platform.platform(), platform.python_version())
    versions = (version(name) for name in names[3:])
    report: dict[str, Any] = {
        "environment": dict(zip(names, (*values, *versions), strict=True)),
        "large": ShardSet.open(large).tokens,
        "large_is": "one shard file under many names (hard links), in the page cache",
        "tokens": ShardSet.open(real).tokens,
        "tokens_are": "random, different in all shards, in the page cache",
        "shards": {
            "large": len(ShardSet.open(large).shards),
            "real": len(ShardSet.open(real).shards),
        },
        "row_length": length,
        "global_batch": GLOBAL_BATCH,
        "micro_batch": MICRO_BATCH,
        "start": {},
        "read": {},
    }
    for name in options.arms or ARMS:
        folder = large if name in STARTS else real
        command = [sys.executable, str(Path(__file__).resolve()), "--arm", name, "--work", folder]
        command += ["--row-length", str(length), "--seconds", str(options.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"arm {name} failed:\n{done.stderr}")
        figures = json.loads(done.stdout.splitlines()[-1])
        report["start" if name in STARTS else "read"][name] = figures
    return report


def make_set(folder: Path, rows: int, shard_rows: int, row_length: int, *, linked: bool) -> None:
    """Write a folder of shards with random tokens, different ones or one file under many names."""
    folder.mkdir()
    random = np.random.default_rng(0)
    entries = []
    for number, begin in enumerate(range(0, max(rows, 1), shard_rows)):
        name = f"train-{number:05d}.arrow"
        if entries and linked:
            os.link(folder / entries[0].file, folder / name)
            entries.append(dataclasses.replace(entries[0], file=name))
            continue
        shape = (shard_rows if linked else min(shard_rows, rows - begin), row_length)
        tokens = random.integers(PAD + 1, VOCABULARY, shape, np.uint16)
        entries.append(write_shard(folder / name, tokens, tokenizer_hash=HASH))
    rows = sum(entry.rows for entry in entries)
    none = {"padding": 0, "dropped_tokens": 0, "dropped_documents": 0}
    size = rows * row_length
    train = Split(
        documents=1, characters=size, tokens=size, rows=rows, shards=tuple(entries), **none
    )
    empty = Split(documents=0, characters=0, tokens=0, rows=0, shards=(), **none)
    write_manifest(
        folder,
        Manifest(
            tokenizer=TokenizerInfo(
                name="none", hash=HASH, vocab_size=VOCABULARY, bos_id=0, eos_id=1, pad_id=PAD
            ),
            row_length=row_length,
            packing="full",
            split_rule=SplitRule(hash="none", validation_fraction=0.0),
            splits={TRAIN: train, VALIDATION: empty},
            sources=(),
        ),
    )


def start_ours(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Open the set and bring the first step; torch was imported before."""
    from gpt2zh.data import loader

    begin = time.perf_counter()
    shards = ShardSet.open(folder)
    opened = time.perf_counter()
    with contextlib.closing(steps(loader, shards, Mixture([shards.rows], shares=[1], seed=1))) as s:
        next(s)
        ready = time.perf_counter()
    return {"open": opened - begin, "first_step": ready - opened, "seconds": ready - begin}


def start_datasets(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Open the set, shuffle it and bring one batch through a DataLoader; all is imported before."""
    import datasets  # noqa: F401
    from torch.utils.data import DataLoader

    begin = time.perf_counter()
    rows = open_datasets(folder)
    opened = time.perf_counter()
    next(iter(DataLoader(rows, batch_size=MICRO_BATCH, shuffle=True)))
    ready = time.perf_counter()
    return {"open": opened - begin, "first_step": ready - opened, "seconds": ready - begin}


def read_rows(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """The order and the rows alone."""
    shards = ShardSet.open(folder)
    order = Mixture([shards.rows], shares=[1], seed=1)
    order.at(0, 1)
    batches = (
        shards.gather(order.at(position, GLOBAL_BATCH)).size
        for position in range(0, shards.rows, GLOBAL_BATCH)
    )
    return timed(batches, options)


def read_steps(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """What training reads."""
    from gpt2zh.data import loader

    shards = ShardSet.open(folder)
    order = Mixture([shards.rows], shares=[1], seed=1)
    return timed(sizes_of(loader, shards, order, shards.row_length), options)


def read_mixture(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """What training reads from two corpora, the halves of the set, in shorter sequences."""
    from gpt2zh.data import loader

    shards = ShardSet.open(folder)
    half = max(1, len(shards.blocks) // 2)
    corpora = [
        Rows(b, row_length=shards.row_length) for b in (shards.blocks[:half], shards.blocks[half:])
    ]
    sizes = [corpus.rows for corpus in corpora if corpus.rows]
    order = Mixture(sizes, shares=sizes, seed=1)
    return timed(sizes_of(loader, shards, order, shards.row_length // 4), options)


def read_memmap(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Rows of memory-mapped files, one by one, stacked."""
    import torch

    length = options.row_length
    names = sorted(folder.glob("*.arrow"))
    # The tokens lie at the end of each file, before a few bytes that close the stream.
    files = [np.memmap(name, np.uint16, "r") for name in names]
    random = np.random.default_rng(1)

    def batches() -> Iterator[int]:
        for _ in range(sum(len(f) for f in files) // length // MICRO_BATCH):
            crops = []
            for file in random.integers(0, len(files), MICRO_BATCH).tolist():
                begin = int(random.integers(0, len(files[file]) - length + 1))
                crops.append(torch.from_numpy(files[file][begin : begin + length].astype(np.int64)))
            yield label(torch.stack(crops))

    return timed(batches(), options)


def read_datasets(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Random numbers as an index."""
    rows = open_datasets(folder)
    order = np.random.default_rng(1).permutation(len(rows))
    batches = (
        label(rows[order[begin : begin + MICRO_BATCH].tolist()]["input_ids"])
        for begin in range(0, len(rows), MICRO_BATCH)
    )
    return timed(batches, options)


def read_dataloader(workers: int) -> Callable[[Path, argparse.Namespace], dict[str, float]]:
    """An arm that reads through torch's DataLoader."""

    def read(folder: Path, options: argparse.Namespace) -> dict[str, float]:
        from torch.utils.data import DataLoader

        rows = open_datasets(folder)
        loader = DataLoader(rows, batch_size=MICRO_BATCH, shuffle=True, num_workers=workers)
        return timed((label(batch["input_ids"]) for batch in loader), options)

    return read


def steps(loader: Any, shards: ShardSet, order: Mixture, length: int = 0) -> Any:
    """The steps of one process that trains alone."""
    import torch

    from gpt2zh.ranks.world import World

    return loader.training_steps(
        shards,
        order=order,
        start=0,
        first_step=1,
        global_batch=GLOBAL_BATCH,
        micro_batch=MICRO_BATCH,
        length_at=lambda step: length or shards.row_length,
        skipped=np.array([], np.int64),
        pad_id=PAD,
        world=World(),
        device=torch.device("cpu"),
    )


def sizes_of(loader: Any, shards: ShardSet, order: Mixture, length: int) -> Iterator[int]:
    """Tokens of the steps of one epoch."""
    with contextlib.closing(steps(loader, shards, order, length)) as endless:
        for step in itertools.islice(endless, -(-shards.rows // GLOBAL_BATCH)):
            yield sum(batch.input_ids.numel() for batch in step)


def open_datasets(folder: Path) -> Any:
    """All shards as one data set of torch tensors."""
    import datasets

    datasets.disable_progress_bars()
    parts = [datasets.Dataset.from_file(str(path)) for path in sorted(folder.glob("*.arrow"))]
    return datasets.concatenate_datasets(parts).with_format("torch")


def label(ids: Any) -> int:
    """Give the peers' batches the labels that ours have, and return their tokens."""
    labels = ids.masked_fill(ids == PAD, -100)
    assert int((labels[:, 1:] != -100).sum()) > 0
    return int(ids.numel())


def timed(batches: Iterator[int], options: argparse.Namespace) -> dict[str, float]:
    """Read until the end, or as long as allowed; the first batch is not counted."""
    next(batches)
    tokens, begin = 0, time.perf_counter()
    for size in batches:
        tokens += size
        if time.perf_counter() - begin > options.seconds:
            break
    seconds = max(time.perf_counter() - begin, 1e-9)
    return {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}


STARTS = {"start": start_ours, "start-datasets": start_datasets}
ARMS: dict[str, Callable[[Path, argparse.Namespace], dict[str, float]]] = {
    **STARTS,
    "rows": read_rows,
    "steps": read_steps,
    "mixture": read_mixture,
    "memmap": read_memmap,
    "datasets": read_datasets,
    "DataLoader": read_dataloader(0),
    "DataLoader-x1": read_dataloader(1),
}


def processor() -> str:
    """The name of the processor and how many cores this process may use."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def print_table(report: dict[str, Any]) -> None:
    """Print what a reader compares."""
    print(f"{report['environment']['machine']}; rows of {report['row_length']} tokens")
    print(
        f"\nstart on {report['large'] / 1e9:.2f} billion tokens in {report['shards']['large']} "
        f"shards ({report['large_is']})"
    )
    for name, figures in report["start"].items():
        print(
            f"  {name:<16}{figures['seconds']:8.3f} s   (open {figures['open']:.3f}, "
            f"first batch {figures['first_step']:.3f})"
        )
    ours = report["read"].get("steps", {}).get("tokens_per_second", math.nan)
    print(
        f"\nread {report['tokens'] / 1e6:.0f} M tokens in random order, one process "
        f"({report['tokens_are']})"
    )
    for name, figures in report["read"].items():
        speed = figures["tokens_per_second"]
        print(f"  {name:<16}{speed / 1e6:8.1f} M tokens/s   {speed / ours:7.3f} of `steps`")


if __name__ == "__main__":
    sys.exit(main())
