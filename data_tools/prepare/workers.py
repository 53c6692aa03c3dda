"""Run a phase over units in several processes; which process does which unit does not matter."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
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


_tools: dict[Phase, Any] = {}
_counter: Any = None


class Workers:
    """A number of processes, or this one alone; use it as a context manager.

    A server process imports what the workers need while the work is still being planned, and they
    are forked from it: each starts a second faster, and no process with threads is forked.
    """

    def __init__(self, count: int) -> None:
        """Start to get ready.

        Args:
            count: Processes; 0 uses one for each available core.
        """
        self._count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None
        # There is a process for each core, so their libraries must not start threads.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
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
            pending = {self._pool.submit(_do, phase, output, number) for number in numbers}
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                progress.show(done + self._bytes.value)
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps because memory ran out; what is complete is "
                f"kept. Run the same command again, with fewer --workers (now {self._count}) if it "
                "happens again"
            ) from error


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


def _do(phase: Phase, output: Path, number: int) -> None:
    if phase not in _tools:
        _tools.clear()  # of the phase before
        _tools[phase] = phase.begin(output)
    phase.task(_tools[phase], number, _advance)


def _advance(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count
