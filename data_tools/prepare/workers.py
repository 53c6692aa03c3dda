"""Run a phase over units in several processes; which process does which unit does not matter."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from types import TracebackType
from typing import Any

from gpt2zh.config.console import prepare_output
from gpt2zh.config.errors import UserError
from gpt2zh.pages.console import Progress

Advance = Callable[[int], None]
"""Gets the bytes of input that are done since its last call."""


@dataclass(frozen=True)
class Phase:
    """What happens to every unit; both functions are importable, so that workers find them."""

    label: str
    """For the line of progress."""
    begin: Callable[[Path], Any]
    """Takes the output folder; makes what a process needs for its units, once."""
    task: Callable[[Any, int, Advance], None]
    """Does the unit of a number with what `begin` made."""


_WORTH = 50_000_000  # bytes; for fewer, a process starts longer than it works

_tools: dict[Phase, Any] = {}
_counter: Any = None


class Workers:
    """A number of processes, or this one alone; use it as a context manager.

    A server process imports what the workers need while the work is still being planned, and they
    are forked from it: each starts a second faster, and no process with threads is forked.
    """

    def __init__(self, count: int) -> None:
        """Store the number.

        Args:
            count: Processes, with this one; 0 uses one for each available core, but not more than
                the work is worth.
        """
        self._asked = count
        self._count = count or 1
        self._pool: ProcessPoolExecutor | None = None
        self._processes = 0  # of the pool; this process is one more
        # There is a process for each core, so their libraries must not start threads.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def get_ready(self, size: int) -> None:
        """Start what processes need; without it, this process does the work alone.

        Args:
            size: Bytes of the input.
        """
        self._count = self._asked or choose_count(size, len(os.sched_getaffinity(0)))
        if self._count > 1:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            forkserver.set_forkserver_preload(["data_tools.prepare.warm"])
            forkserver.ensure_running()

    def __enter__(self) -> Workers:
        """Return itself; processes start with the first phase."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Wait for the units that are being done, and cancel the others."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self, phase: Phase, output: Path, numbers: Sequence[int], *, progress: Progress, done: int
    ) -> None:
        """Run a phase for some units.

        Args:
            phase: What to do.
            output: Given to `phase.begin`.
            numbers: The units.
            progress: Shows the bytes that are done.
            done: Bytes that were done before.

        Raises:
            UserError: A task raised it, or a process was killed.
        """
        if self._count > 1 and len(numbers) > 1:
            self._run_in_pool(phase, output, numbers, progress, done)
        elif numbers:
            tools = phase.begin(output)

            def advance(count: int) -> None:
                nonlocal done
                done += count
                progress.show(done)

            for number in numbers:
                phase.task(tools, number, advance)

    def _run_in_pool(
        self, phase: Phase, output: Path, numbers: Sequence[int], progress: Progress, done: int
    ) -> None:
        """Run a phase in the pool and, at the same time, in this process, which is ready at once.

        Everybody takes the next unit when it is done with one, so all end at about the same time.
        """
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._bytes = context.Value("q", 0)
            self._pool = ProcessPoolExecutor(
                min(self._count, len(numbers)) - 1,
                mp_context=context,
                initializer=_begin_process,
                initargs=(self._bytes,),
            )
            self._processes = min(self._count, len(numbers)) - 1
        self._bytes.value = 0
        queue = _Queue(self._pool, phase, output, numbers)

        def advance(count: int) -> None:
            with self._bytes.get_lock():
                self._bytes.value += count
            progress.show(done + self._bytes.value)
            queue.check()

        try:
            for _ in range(self._processes):
                queue.add_process()
            tools = phase.begin(output)
            while (number := queue.take()) is not None or not queue.wait(0.2):
                if number is not None:
                    phase.task(tools, number, advance)
                    queue.check()
                progress.show(done + self._bytes.value)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps because memory ran out; what is complete is "
                f"kept. Run the same command again, with fewer --workers (now {self._count}) if it "
                "happens again"
            ) from error
        finally:
            queue.close()


def choose_count(size: int, cores: int) -> int:
    """Return how many processes an input of so many bytes is worth, at most one for each core."""
    return max(1, min(cores, size // _WORTH))


class _Queue:
    """Units that wait for a process; each process of the pool has one unit at a time."""

    def __init__(
        self, pool: ProcessPoolExecutor, phase: Phase, output: Path, numbers: Sequence[int]
    ) -> None:
        self._pool = pool
        self._work = phase, output
        self._waiting = deque(numbers)
        self._lock = threading.Lock()
        self._given = 0  # units that are neither waiting nor pending at this moment
        self._pending: set[Future[Any]] = set()
        """Units in the pool, and those that failed there."""

    def take(self) -> int | None:
        """Take the next unit for this process; None if there is none."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def add_process(self) -> None:
        """Let a process get ready, and give it units from then on: this one may be faster."""
        self._pool.submit(_get_tools, *self._work).add_done_callback(self._go_on)

    def _submit(self) -> None:
        """Give the next unit to the pool, and another one when it is done."""
        with self._lock:
            if not self._waiting:
                return
            number = self._waiting.popleft()
            self._given += 1
        try:  # without our lock: the pool has its own, and calls `_go_on` with it held
            future = self._pool.submit(_do, *self._work, number)
        except RuntimeError:  # the pool ends or is broken
            with self._lock:
                self._given -= 1
                self._waiting.appendleft(number)
            return
        with self._lock:
            self._given -= 1
            self._pending.add(future)
        future.add_done_callback(self._go_on)

    def check(self) -> None:
        """Raise the error of a unit in the pool, if there is one."""
        with self._lock:
            finished = [future for future in self._pending if future.done()]
        for future in finished:
            future.result()

    def wait(self, seconds: float) -> bool:
        """Wait for the pool, not longer than this; return whether all units are done."""
        with self._lock:
            pending = list(self._pending)
        wait(pending, timeout=seconds, return_when=FIRST_EXCEPTION)
        self.check()
        with self._lock:
            return not (self._waiting or self._given or self._pending)

    def close(self) -> None:
        """Give nothing more to the pool."""
        with self._lock:
            self._waiting.clear()

    def _go_on(self, future: Future[Any]) -> None:
        if future.cancelled():
            return
        if future.exception() is not None:
            with self._lock:
                self._waiting.clear()
                self._pending.add(future)  # also of a process that could not get ready
            return
        self._submit()
        with self._lock:
            self._pending.discard(future)


def _begin_process(counter: Any) -> None:
    global _counter
    _counter = counter
    prepare_output()
    # Ctrl-C reaches every process. Only the main one has something to say about it, and what a
    # worker leaves half written is as harmless as after kill -9.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_main, daemon=True).start()


def _end_with_main() -> None:
    """End this process when the main one was killed; else it and the server wait for ever."""
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)


def _get_tools(phase: Phase, output: Path) -> None:
    if phase not in _tools:
        _tools.clear()  # of the phase before
        _tools[phase] = phase.begin(output)


def _do(phase: Phase, output: Path, number: int) -> None:
    _get_tools(phase, output)
    phase.task(_tools[phase], number, _advance)


def _advance(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count
