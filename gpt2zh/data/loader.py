"""From data to batches on a device, read ahead by a thread.

Rows that were only read ahead do not count as progress: the loop counts the rows it trained on.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from gpt2zh.data.batch import Batch
from gpt2zh.data.order import rank_share
from gpt2zh.data.tensors import as_tensors, to_device
from gpt2zh.data.training_data import HeldOut, TrainingData
from gpt2zh.model.shape import IGNORED
from gpt2zh.ranks.world import World

_AHEAD = 4  # steps; one would do, a few hide a slow disk

Item = TypeVar("Item")


@dataclass(frozen=True)
class Portions:
    """How the rows of a step are divided."""

    global_batch: int
    """Rows of a step over all ranks."""
    micro_batch: int
    """Rows of one forward pass of one rank."""


def training_steps(
    data: TrainingData,
    portions: Portions,
    *,
    first_step: int,
    start: int,
    world: World,
    device: torch.device,
) -> Generator[list[Batch[torch.Tensor]], None, None]:
    """Yield this rank's micro-batches of one optimizer step after another, without end.

    Args:
        data: The training data.
        portions: Rows of a step and of a micro-batch.
        first_step: Number of the first step, from 1.
        start: Rows consumed before it, by all ranks.
        world: This rank, and the number of ranks.
        device: Where the batches go.
    """
    rows, at_once = portions.global_batch, portions.micro_batch

    def read() -> Iterator[list[Batch[torch.Tensor]]]:
        for number in itertools.count():
            walk = data.order(start + number * rows, rows)
            mine = rank_share(walk, rank=world.rank, ranks=world.size)
            yield [
                as_tensors(data.make_batch(mine[i : i + at_once], first_step + number), device)
                for i in range(0, len(mine), at_once)
            ]

    with contextlib.closing(read_ahead(read())) as ahead:
        for batches in ahead:
            yield [to_device(batch, device) for batch in batches]


def validation_batches(
    held_out: HeldOut, *, limit: int, micro_batch: int, world: World, device: torch.device
) -> Iterator[Batch[torch.Tensor]]:
    """Yield this rank's batches of `limit` rows (0: all); each row goes to one rank.

    The rows are evenly spread over the split: rows are in the order of the source files, so the
    first ones alone would be of one kind.

    Every rank gets the same number of batches, since with ZeRO 3 a forward pass is a collective. A
    rank that has no rows left gets row 0 again, where no label counts.
    """
    rows = min(limit, held_out.rows) if limit else held_out.rows
    chosen = np.arange(rows) * held_out.rows // max(rows, 1)
    for begin in range(0, rows, micro_batch * world.size):
        mine = chosen[begin : begin + micro_batch * world.size][world.rank :: world.size]
        batch = held_out.make_batch(mine if len(mine) else np.arange(1))
        if not len(mine):
            nothing = np.full_like(batch.labels, IGNORED)
            batch = replace(batch, labels=nothing, targets=0, tokens=0, numbers=mine)
        yield to_device(as_tensors(batch, device), device)


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield `items` while a thread prepares the next ones, and raise the thread's exceptions.

    Close the generator: a thread that still computes while Python exits can crash the process.
    """
    ready: queue.Queue[Item | BaseException] = queue.Queue(maxsize=_AHEAD)
    left = threading.Event()

    def put(item: Item | BaseException) -> None:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                return ready.put(item, timeout=0.2)

    def work() -> None:
        try:
            for item in items:
                put(item)
                if left.is_set():
                    return
            put(StopIteration())
        except BaseException as error:  # the reader raises it
            put(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, StopIteration):
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        thread.join()
