"""Shards and order to batches, read ahead by a thread.

What was read ahead is nobody's progress: the loop counts the rows that the weights have seen.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
import torch

from gpt2zh.data.batch import IGNORED, Batch
from gpt2zh.data.order import rank_share
from gpt2zh.ranks.world import World

_AHEAD = 4  # steps; one would do, a few hide a slow disk

Item = TypeVar("Item")


class RowSource(Protocol):
    """Anything that holds numbered rows of equal length, as `Rows` and `ShardSet` do."""

    @property
    def rows(self) -> int:
        """Rows it holds."""
        ...

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """The rows at `indices`, shape (len(indices), T)."""
        ...


class Order(Protocol):
    """A walk through numbered rows, as `Mixture` is."""

    def at(self, position: int, count: int) -> np.ndarray:
        """The row numbers of `count` places from `position` on, shape (count,)."""
        ...


def training_steps(
    source: RowSource,
    *,
    order: Order,
    start: int,
    first_step: int,
    global_batch: int,
    micro_batch: int,
    length_at: Callable[[int], int],
    skipped: np.ndarray,
    pad_id: int,
    world: World,
    device: torch.device,
) -> Generator[list[Batch], None, None]:
    """Yield for ever this rank's micro-batches of one optimizer step after the other.

    Args:
        source: The training rows.
        order: The walk through them.
        start: Rows consumed before, by all ranks.
        first_step: Number of the first step.
        global_batch: Rows of a step over all ranks.
        micro_batch: Rows per batch.
        length_at: Tokens of a sequence by number of the step, the first is 1; it divides the
            length of the rows, each of which becomes several sequences if it is smaller.
        skipped: Sorted row numbers that nothing is learnt from; they are read as padding.
        pad_id: Token without loss.
        world: This rank's place.
        device: Where the batches shall be.
    """

    def read() -> Iterator[list[Batch]]:
        position = start
        for step in itertools.count(first_step):
            numbers = order.at(position, global_batch)
            position += len(numbers)
            mine = rank_share(numbers, rank=world.rank, ranks=world.size)
            rows = source.gather(mine)
            if len(skipped):
                rows[np.isin(mine, skipped)] = pad_id
            length = length_at(step)
            batches = [
                Batch.from_rows(
                    rows[i : i + micro_batch].reshape(-1, length),
                    pad_id=pad_id,
                    numbers=mine[i : i + micro_batch],
                )
                for i in range(0, len(rows), micro_batch)
            ]
            yield [b.pinned() for b in batches] if device.type == "cuda" else batches

    with contextlib.closing(read_ahead(read())) as ahead:
        for batches in ahead:
            yield [batch.to(device) for batch in batches]


def validation_batches(
    source: RowSource, *, limit: int, micro_batch: int, pad_id: int, world: World
) -> Iterator[Batch]:
    """Yield this rank's batches of `limit` rows (0: all), each row on one rank.

    The rows are evenly spread over the split: they lie in the order of the source files, and the
    first ones alone would be of one kind.

    Every rank gets the same number of batches, for at ZeRO 3 a forward pass is a collective; a
    rank without rows left repeats row 0 with no label counted.
    """
    rows = min(limit, source.rows) if limit else source.rows
    chosen = np.arange(rows) * source.rows // max(rows, 1)
    for begin in range(0, rows, micro_batch * world.size):
        mine = chosen[begin : begin + micro_batch * world.size][world.rank :: world.size]
        read = mine if len(mine) else np.arange(1)
        batch = Batch.from_rows(source.gather(read), pad_id=pad_id, numbers=mine)
        if not len(mine):
            batch = replace(batch, labels=batch.labels.fill_(IGNORED), targets=0)
        yield batch


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield `items` while a thread prepares the next ones; its exceptions are raised here.

    Close it: a thread that still computes while Python exits takes the process down with it.
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
        except BaseException as error:  # handed to the reader, who raises it
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
