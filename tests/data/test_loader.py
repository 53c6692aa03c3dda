"""From data to batches on a device: which rows, in which steps, and a thread that always ends."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from patience import LIMIT

from gpt2zh.data.batch import Batch, batch_of
from gpt2zh.data.loader import Portions, read_ahead, training_steps, validation_batches
from gpt2zh.data.order import rank_share, rows_at
from gpt2zh.model.shape import IGNORED
from gpt2zh.ranks.world import World

PAD = 0
CPU = torch.device("cpu")


class Table:
    """Data whose rows tell their number: row i holds i + 1 in every place."""

    name, tokens, characters = "table", 1, 1

    def __init__(self, rows: int, length: int = 4) -> None:
        self.rows = rows
        self.steps: list[int] = []
        self._table = np.repeat(np.arange(1, rows + 1, dtype=np.uint16)[:, None], length, 1)

    def order(self, position: int, count: int) -> np.ndarray:
        return rows_at(position, count, rows=self.rows, seed=3)

    def make_batch(self, numbers: np.ndarray, step: int = 1) -> Batch[np.ndarray]:
        self.steps.append(step)
        return batch_of(self._table[numbers], pad_id=PAD, numbers=numbers)


def steps_of(
    data: Any, world: World, *, start: int = 0, count: int = 5, micro: int = 2, first: int = 1
) -> list[list[Batch[torch.Tensor]]]:
    """The first steps of one rank at a global batch of 12 rows; all before `start` are done."""
    portions = Portions(global_batch=12, micro_batch=micro)
    with contextlib.closing(
        training_steps(data, portions, first_step=first, start=start, world=world, device=CPU)
    ) as steps:
        return list(itertools.islice(steps, count))


def numbers(step: list[Batch[torch.Tensor]]) -> list[int]:
    return [int(row[0]) - 1 for batch in step for row in batch.input_ids]


@pytest.mark.parametrize(("ranks", "micro"), [(1, 12), (1, 2), (2, 3), (3, 4), (3, 2), (6, 1)])
def test_batches_hold_the_rows_of_the_order(ranks: int, micro: int) -> None:
    source = Table(29)
    for rank in range(ranks):
        steps = steps_of(source, World(rank, ranks), micro=micro)
        for number, step in enumerate(steps):
            walk = rows_at(number * 12, 12, rows=29, seed=3)
            assert numbers(step) == rank_share(walk, rank=rank, ranks=ranks).tolist()
            assert [len(batch.input_ids) for batch in step] == [micro] * (12 // ranks // micro)
            assert {b.input_ids.dtype for b in step} == {torch.int64}
            assert np.concatenate([b.numbers for b in step]).tolist() == numbers(step)
            assert {b.numbers.dtype for b in step} == {np.dtype(np.int64)}


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_start_in_the_middle_goes_on_there(done: int) -> None:
    whole = [numbers(step) for step in steps_of(Table(29), World())]
    later = steps_of(Table(29), World(), start=done * 12, count=5 - done)
    assert [numbers(step) for step in later] == whole[done:]


def test_data_is_asked_by_the_number_of_the_step_and_not_by_the_rows_before() -> None:
    """A global batch that was changed on the way: 60 rows are 5 steps here, and were 9 there."""
    data = Table(29)
    steps_of(data, World(), start=60, count=2, micro=12, first=10)
    assert data.steps[:2] == [10, 11]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 12, 13])
@pytest.mark.parametrize("limit", [0, 1, 5, 12, 100])
def test_validation_covers_each_row_once_in_equal_counts(ranks: int, rows: int, limit: int) -> None:
    """At ZeRO 3 a rank with one batch less would leave the others waiting for ever."""
    source, seen, batches = Table(rows), [], []
    for rank in range(ranks):
        mine = list(
            validation_batches(
                source, limit=limit, micro_batch=2, world=World(rank, ranks), device=CPU
            )
        )
        batches.append(len(mine))
        for batch in mine:
            counted = (batch.labels[:, 1:] != IGNORED).sum(1)
            assert batch.targets == int(counted.sum())
            assert 1 <= len(batch.input_ids) <= 2
            assert len(batch.numbers) == int((counted > 0).sum())
            seen += [int(row[0]) - 1 for row, n in zip(batch.input_ids, counted, strict=True) if n]
    assert len(set(batches)) == 1
    wanted = min(rows, limit or rows)
    assert sorted(seen) == [number * rows // wanted for number in range(wanted)]
    assert len(set(seen)) == wanted and 0 in seen


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def closes(items: Iterator[int], taken: int, pause: float = 0.3) -> bool:
    """Whether a reader of `items` ends when it is closed after some were taken."""
    ended = threading.Event()

    def use() -> None:
        ahead = read_ahead(items)
        for _ in range(taken):
            next(ahead)
        time.sleep(pause)  # the thread reads as far as it can
        ahead.close()
        ended.set()

    threading.Thread(target=use, daemon=True).start()
    return ended.wait(LIMIT)


def test_reading_ahead_keeps_the_order_and_ends() -> None:
    assert list(read_ahead(iter(range(50)))) == list(range(50))
    assert list(read_ahead(iter(()))) == []
    assert not readers()


def test_an_error_of_the_reader_is_raised_at_its_place() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("the disk is gone")

    ahead = read_ahead(items())
    assert [next(ahead), next(ahead), next(ahead)] == [1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert not readers()


def test_only_a_few_items_are_read_ahead() -> None:
    produced = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            produced.append(number)
            yield number

    ahead = read_ahead(items())
    assert next(ahead) == 0
    time.sleep(0.3)
    assert 2 <= len(produced) <= 8
    ahead.close()
    assert not readers()


@pytest.mark.parametrize("taken", [1, 3])
def test_closing_ends_the_thread_of_endless_items(taken: int) -> None:
    assert closes(itertools.count(), taken)
    assert not readers()


@pytest.mark.parametrize("ending", ["end", "error"])
def test_closing_ends_a_thread_that_had_read_everything(ending: str) -> None:
    """The queue is full when the last item was read, and nobody takes any more."""

    def items() -> Iterator[int]:
        yield from range(5)
        if ending == "error":
            raise OSError("the disk is gone")

    assert closes(items(), 1)
    assert not readers()
