"""A phase over units; here in this process alone, test_survival has several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from data_tools.prepare.workers import Advance, Phase, Workers, _Queue, choose_count
from gpt2zh.config.errors import UserError

OUT = Path("out")


class Shown:
    """Takes the place of a line of progress."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def show(self, done: int) -> None:
        self.bytes.append(done)


def run(numbers: list[int], broken: int = -1) -> tuple[list[object], list[int]]:
    """Run a phase; return what it did, and the progress."""
    done: list[object] = []
    shown = Shown()

    def begin(output: Path) -> str:
        done.append(output)
        return "tools"

    def task(tools: str, number: int, advance: Advance) -> None:
        if number == broken:
            raise UserError("broken")
        done.append((tools, number))
        advance(number)
        advance(1)

    with Workers(1) as workers:
        phase = Phase("label", begin, task)
        try:
            workers.run(phase, OUT, numbers, progress=shown, done=100)  # type: ignore[arg-type]
        except UserError:
            done.append("error")
            assert broken in numbers
    return done, shown.bytes


def test_tools_are_made_once_and_units_done_in_their_order() -> None:
    done, shown = run([3, 1, 2])
    assert done == [OUT, ("tools", 3), ("tools", 1), ("tools", 2)]
    assert shown == [103, 104, 105, 106, 108, 109]


def test_without_units_nothing_is_begun() -> None:
    assert run([]) == ([], [])


def test_an_error_ends_the_phase_at_its_unit() -> None:
    done, shown = run([3, 1, 2], broken=1)
    assert done == [OUT, ("tools", 3), "error"] and shown == [103, 104]


@pytest.mark.parametrize(
    ("size", "cores", "count"),
    [(0, 8, 1), (60_000_000, 8, 1), (100_000_000, 8, 2), (10**9, 8, 8), (10**9, 2, 2)],
)
def test_a_small_input_is_worth_one_process(size: int, cores: int, count: int) -> None:
    assert choose_count(size, cores) == count


def queue_of(pool: Executor, numbers: Sequence[int], task: Callable[[int], None]) -> _Queue:
    phase = Phase("label", lambda output: None, lambda tools, number, advance: task(number))
    return _Queue(pool, phase, OUT, numbers)  # type: ignore[arg-type]


def finish(queue: _Queue) -> None:
    while not queue.wait(0.05):
        pass


def test_each_unit_is_done_once_by_whoever_is_free() -> None:
    done: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        queue = queue_of(pool, range(200), done.append)
        queue.add_process()
        queue.add_process()
        while (number := queue.take()) is not None or not queue.wait(0.05):
            if number is not None:
                done.append(number)
    assert sorted(done) == list(range(200))


def test_a_pool_that_is_never_ready_is_not_waited_for() -> None:
    begun = threading.Event()
    phase = Phase("label", lambda output: begun.wait(), lambda tools, number, advance: None)
    with ThreadPoolExecutor(1) as pool:
        queue = _Queue(pool, phase, OUT, [1, 2])  # type: ignore[arg-type]
        queue.add_process()
        assert [queue.take(), queue.take(), queue.take()] == [1, 2, None]
        assert queue.wait(0)
        begun.set()


def test_an_error_in_the_pool_ends_the_phase_and_gives_nothing_more() -> None:
    done: list[int] = []

    def task(number: int) -> None:
        if number == 3:
            raise UserError("broken")
        done.append(number)

    with ThreadPoolExecutor(1) as pool:
        queue = queue_of(pool, range(100), task)
        queue.add_process()
        with pytest.raises(UserError, match="broken"):
            finish(queue)
        assert queue.take() is None and done == [0, 1, 2]


def test_a_pool_that_ended_leaves_its_unit_to_this_process() -> None:
    pool = ThreadPoolExecutor(1)
    queue = queue_of(pool, [1, 2], lambda number: None)
    pool.shutdown()
    queue._submit()
    assert [queue.take(), queue.take(), queue.take()] == [1, 2, None] and queue.wait(0)
