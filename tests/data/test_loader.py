"""From rows to batches: which rows, which labels, and a thread that always ends."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt2zh.data.batch import IGNORED, Batch
from gpt2zh.data.loader import read_ahead, training_steps, validation_batches
from gpt2zh.data.mixture import Mixture
from gpt2zh.data.order import rank_share, rows_at
from gpt2zh.data.shard import ShardSet
from gpt2zh.ranks.world import World

PAD = 0
CPU = torch.device("cpu")


class Rows:
    """Rows that tell their number: row i holds i + 1 in every place."""

    def __init__(self, rows: int, length: int = 4) -> None:
        self.rows = rows
        self.row_length = length
        self.table = np.repeat(np.arange(1, rows + 1, dtype=np.uint16)[:, None], length, 1)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.table[indices]


def steps_of(
    source: Rows | ShardSet,
    world: World,
    *,
    start: int = 0,
    count: int = 5,
    micro: int = 2,
    length_at: Callable[[int], int] | None = None,
    skipped: Sequence[int] = (),
) -> list[list[Batch]]:
    """The first steps of one rank at a global batch of 12 rows; all before `start` are done."""
    with contextlib.closing(
        training_steps(
            source,
            order=Mixture([source.rows], shares=[1], seed=3),
            start=start,
            first_step=start // 12 + 1,
            global_batch=12,
            micro_batch=micro,
            length_at=length_at or (lambda step: source.row_length),
            skipped=np.array(skipped, np.int64),
            pad_id=PAD,
            world=world,
            device=CPU,
        )
    ) as steps:
        return list(itertools.islice(steps, count))


def numbers(step: list[Batch]) -> list[int]:
    return [int(row[0]) - 1 for batch in step for row in batch.input_ids]


@pytest.mark.parametrize(("ranks", "micro"), [(1, 12), (1, 2), (2, 3), (3, 4), (3, 2), (6, 1)])
def test_batches_hold_the_rows_of_the_order(ranks: int, micro: int) -> None:
    source = Rows(29)
    for rank in range(ranks):
        steps = steps_of(source, World(rank, ranks), micro=micro)
        for number, step in enumerate(steps):
            walk = rows_at(number * 12, 12, rows=29, seed=3)
            assert numbers(step) == rank_share(walk, rank=rank, ranks=ranks).tolist()
            assert [len(batch.input_ids) for batch in step] == [micro] * (12 // ranks // micro)
            assert {b.input_ids.dtype for b in step} == {torch.int64}
            assert np.concatenate([b.numbers for b in step]).tolist() == numbers(step)
            assert {b.numbers.dtype for b in step} == {np.dtype(np.int64)}


def test_batches_of_real_shards_equal_their_rows(tiny_shards: Path) -> None:
    shards = ShardSet.open(tiny_shards)
    (step,) = steps_of(shards, World(), count=1)
    found = torch.cat([batch.input_ids for batch in step]).numpy()
    expected = shards.gather(rows_at(0, 12, rows=shards.rows, seed=3))
    assert (found == expected).all()


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_start_in_the_middle_goes_on_there(done: int) -> None:
    whole = [numbers(step) for step in steps_of(Rows(29), World())]
    later = steps_of(Rows(29), World(), start=done * 12, count=5 - done)
    assert [numbers(step) for step in later] == whole[done:]


LENGTHS = [2, 2, 1, 4, 4]  # by step


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("done", [0, 1, 2, 4])
def test_shorter_sequences_are_the_same_tokens_of_the_same_rows(ranks: int, done: int) -> None:
    for rank in range(ranks):
        whole = steps_of(Rows(29), World(rank, ranks))
        short = steps_of(
            *(Rows(29), World(rank, ranks)),
            start=done * 12,
            count=5 - done,
            length_at=lambda step: LENGTHS[step - 1],
        )
        for full, cut, length in zip(whole[done:], short, LENGTHS[done:], strict=True):
            assert len(full) == len(cut)
            for one, other in zip(full, cut, strict=True):
                assert other.input_ids.shape == (2 * 4 // length, length)
                assert torch.equal(one.input_ids.flatten(), other.input_ids.flatten())
                assert other.targets == 2 * 4 // length * (length - 1)
                assert other.numbers.tolist() == one.numbers.tolist()


def test_lengths_follow_the_number_of_the_step_and_not_the_rows_before() -> None:
    """A global batch that was changed on the way: 60 rows are 5 steps here, and were 9 there."""
    with contextlib.closing(
        training_steps(
            Rows(29),
            order=Mixture([29], shares=[1], seed=3),
            start=60,
            first_step=10,
            global_batch=12,
            micro_batch=12,
            length_at=lambda step: {10: 2, 11: 4}[step],
            skipped=np.array([], np.int64),
            pad_id=PAD,
            world=World(),
            device=CPU,
        )
    ) as steps:
        found = [next(steps)[0].input_ids.shape for _ in range(2)]
    assert found == [(24, 2), (12, 4)]


@pytest.mark.parametrize("ranks", [1, 3])
def test_skipped_rows_are_read_as_padding_and_stay_in_the_order(ranks: int) -> None:
    source = Rows(29)
    skipped = [0, 7, 28]
    before = source.table.copy()
    for rank in range(ranks):
        whole = steps_of(source, World(rank, ranks))
        found = steps_of(source, World(rank, ranks), skipped=skipped)
        for one, other in zip(itertools.chain(*whole), itertools.chain(*found), strict=True):
            assert other.numbers.tolist() == one.numbers.tolist()
            left_out = np.isin(one.numbers, skipped)
            assert (other.input_ids[left_out] == PAD).all()
            assert (other.labels[left_out] == IGNORED).all()
            assert torch.equal(other.input_ids[~left_out], one.input_ids[~left_out])
            assert other.targets == one.targets - 3 * int(left_out.sum())
    assert (source.table == before).all()


def test_skipped_rows_of_real_shards_can_be_padded(tiny_shards: Path) -> None:
    """Their rows lie in a file that is mapped and may not be written."""
    shards = ShardSet.open(tiny_shards)
    (first,) = steps_of(shards, World(), count=1, micro=12)
    (row,) = first[0].numbers[:1].tolist()
    (found,) = steps_of(shards, World(), count=1, micro=12, skipped=[row])
    assert found[0].input_ids[0].tolist() == [PAD] * shards.row_length
    assert torch.equal(found[0].input_ids[1:], first[0].input_ids[1:])


def test_padding_has_no_loss_and_the_first_place_predicts_from_nothing() -> None:
    rows = np.array([[5, 6, 7, PAD], [5, PAD, PAD, PAD], [5, 6, 7, 8]], np.uint16)
    batch = Batch.from_rows(rows, pad_id=PAD, numbers=np.arange(3))
    assert batch.labels.tolist() == [
        [5, 6, 7, IGNORED],
        [5, IGNORED, IGNORED, IGNORED],
        [5, 6, 7, 8],
    ]
    assert batch.input_ids.tolist() == rows.tolist()
    assert batch.targets == 2 + 0 + 3


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 12, 13])
@pytest.mark.parametrize("limit", [0, 1, 5, 12, 100])
def test_validation_covers_each_row_once_in_equal_counts(ranks: int, rows: int, limit: int) -> None:
    """At ZeRO 3 a rank with one batch less would leave the others waiting for ever."""
    source, seen, batches = Rows(rows), [], []
    for rank in range(ranks):
        mine = list(
            validation_batches(
                source, limit=limit, micro_batch=2, pad_id=PAD, world=World(rank, ranks)
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
    return ended.wait(3)


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
