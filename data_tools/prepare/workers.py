"""Several processes at one list of units; who does which one makes no difference."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from types import TracebackType
from typing import Any

from gpt2zh.config.errors import UserError
from gpt2zh.pages.console import Progress

Advance = Callable[[int], None]
"""Is told of bytes of input as they are done."""
Task = Callable[[Any, int, Advance], None]
"""Does one unit with the tools that a `Begin` made."""
Begin = Callable[..., Any]
"""Makes what a process needs for its units, once; as `Task`, a function of a module."""

_tools: dict[Begin, Any] = {}
_counter: Any = None


class Workers:
    """A number of processes, or this one alone; use it as a context.

    A server process imports what the workers need while the work is still planned, and they are
    forked from it: a second less for each of them, and no fork of a process that has threads.
    """

    def __init__(self, count: int) -> None:
        """Begin to get ready.

        Args:
            count: Processes; 0 takes one for each core that may be used.
        """
        self._count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None
        # There is a process for each core, so their libraries shall not start threads.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        if self._count > 1:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            forkserver.set_forkserver_preload(["data_tools.prepare.warm"])
            forkserver.ensure_running()

    def __enter__(self) -> Workers:
        """Return itself; processes begin with the first work."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Wait for the units in work, and leave out those that wait."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self,
        task: Task,
        begin: Begin,
        arguments: tuple[Any, ...],
        numbers: Sequence[int],
        *,
        progress: Progress,
        done: int,
    ) -> None:
        """Run a task for every unit.

        Args:
            task: What to do.
            begin: Makes the tools for it.
            arguments: Given to `begin`.
            numbers: The units.
            progress: Told of bytes done.
            done: Bytes done before.

        Raises:
            UserError: What a task raised; a process that was killed.
        """
        if self._count > 1 and len(numbers) > 1:
            self._run_there(task, begin, arguments, numbers, progress, done)
        elif numbers:
            tools = begin(*arguments)

            def advance(count: int) -> None:
                nonlocal done
                done += count
                progress.show(done)

            for number in numbers:
                task(tools, number, advance)

    def _run_there(
        self,
        task: Task,
        begin: Begin,
        arguments: tuple[Any, ...],
        numbers: Sequence[int],
        progress: Progress,
        done: int,
    ) -> None:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._bytes = context.Value("q", 0)
            self._pool = ProcessPoolExecutor(
                min(self._count, len(numbers)),
                mp_context=context,
                initializer=_begin_process,
                initargs=(self._bytes,),
            )
        self._bytes.value = 0
        try:
            pending = {self._pool.submit(_do, task, begin, arguments, number) for number in numbers}
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                progress.show(done + self._bytes.value)
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory; what is complete is "
                f"kept: give the same command again, with fewer --workers (now {self._count}) if "
                "it happens again"
            ) from error


def _begin_process(counter: Any) -> None:
    global _counter
    _counter = counter
    threading.Thread(target=_end_with_user, daemon=True).start()


def _end_with_user() -> None:
    """End this process when the user's was killed; it and the server would wait for each other."""
    user = multiprocessing.parent_process()
    assert user is not None
    user.join()
    os._exit(1)


def _do(task: Task, begin: Begin, arguments: tuple[Any, ...], number: int) -> None:
    if begin not in _tools:
        _tools.clear()  # of the phase before
        _tools[begin] = begin(*arguments)
    task(_tools[begin], number, _advance)


def _advance(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count
