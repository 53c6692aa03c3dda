"""Several processes at one list of units; who does which one makes no difference."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from data_tools.progress import Progress
from gpt2zh.config.errors import UserError

Task = Callable[[Any, int, Callable[[int], None]], None]
"""Does unit `number` with the tools that `begin` made, and tells of bytes done."""

_kit: Any = None
_counter: Any = None


def run_units(
    task: Task,
    begin: Callable[..., Any],
    arguments: tuple[Any, ...],
    numbers: Sequence[int],
    *,
    workers: int,
    progress: Progress,
    done: int,
) -> None:
    """Run a task for every unit.

    Args:
        task: What to do; a function of a module, for processes find it by name.
        begin: Makes what a process needs for its tasks, once.
        arguments: Given to `begin`.
        numbers: The units.
        workers: Processes; with one, all is done in this one.
        progress: Told of bytes done.
        done: Bytes done before.

    Raises:
        UserError: What a task raised; a process that was killed.
    """
    if workers == 1 or len(numbers) < 2:
        _run_here(task, begin(*arguments), numbers, progress, done)
    else:
        _run_processes(task, begin, arguments, numbers, workers, progress, done)


def _run_here(task: Task, kit: Any, numbers: Sequence[int], progress: Progress, done: int) -> None:
    for number in numbers:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress.show(done)

        task(kit, number, advance)


def _run_processes(
    task: Task,
    begin: Callable[..., Any],
    arguments: tuple[Any, ...],
    numbers: Sequence[int],
    workers: int,
    progress: Progress,
    done: int,
) -> None:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(
        min(workers, len(numbers)),
        mp_context=context,
        initializer=_begin_process,
        initargs=(begin, arguments, counter, os.getpid()),
    ) as pool:
        futures: list[Future[None]] = [pool.submit(_do, task, number) for number in numbers]
        pending = set(futures)
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                progress.show(done + counter.value)
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory; what is complete is "
                f"kept: give the same command again, with fewer --workers (now {workers}) if it "
                "happens again"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_process(
    begin: Callable[..., Any], arguments: tuple[Any, ...], counter: Any, parent: int
) -> None:
    global _kit, _counter
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _counter = counter
    _kit = begin(*arguments)


def _end_with(parent: int) -> None:
    """End this process when its parent was killed; nobody else would."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os._exit(1)


def _do(task: Task, number: int) -> None:
    task(_kit, number, _advance)


def _advance(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count
