"""Start ranks as processes of this machine, and end them together. Does not import torch.

torchrun is not used: it hides the exit codes of the ranks, prints its own traceback when one is not
0, and sets OMP_NUM_THREADS, on which the last bits of sums on a CPU depend.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.port import free_port
from gpt2zh.ranks.world import World

_GRACE = 5.0  # seconds for the other ranks to end after one has failed
_FINE = (Exit.DONE, Exit.STOPPED)
# The first ones would say that a launcher started the ranks; with the last, their lines would mix.
_NOT_PASSED_ON = (
    "CROSS_RANK",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "PYTHONUNBUFFERED",
)


def run_ranks(
    module: str,
    arguments: Sequence[str],
    *,
    ranks: int,
    settings: dict[str, str],
    show: Callable[[str], None],
) -> int:
    """Run a module as several ranks and wait for all of them; none outlives this call.

    Args:
        module: What `python -m` runs.
        arguments: Its command line.
        ranks: Processes.
        settings: Environment variables in addition to those of this process.
        show: Called with each line that any of them prints.

    Returns:
        The exit code of the rank that failed first; of rank 0 if none did.
    """
    shared = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **settings}
    reader, writer = os.pipe()
    processes: list[subprocess.Popen[bytes]] = []
    with open(reader, encoding="utf-8", errors="replace") as lines, ThreadPoolExecutor(1) as thread:
        try:
            # Close our end as soon as every rank has its own.
            with open(writer, "wb"), _defer_signals():
                for rank in range(ranks):
                    processes.append(
                        subprocess.Popen(
                            [sys.executable, "-m", module, *arguments],
                            env=shared | World(rank, ranks, rank, ranks).variables(),
                            stdin=subprocess.DEVNULL,
                            stdout=writer,
                            stderr=writer,
                            start_new_session=True,  # Ctrl-C reaches only us, and we end them
                        )
                    )
            code = thread.submit(_wait, processes)
            for line in lines:
                show(line.rstrip("\n"))
            return code.result()
        finally:
            _end(processes)


@contextlib.contextmanager
def _defer_signals() -> Iterator[None]:
    """Defer signals while processes are started, so that none is orphaned."""
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, frame: held.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all; when one has failed, end the others after `_GRACE` seconds."""
    failed: int | None = None
    until = 0.0
    while None in (codes := [process.poll() for process in processes]):
        if failed is None:
            failed = next((code for code in codes if code not in (None, *_FINE)), None)
            until = time.monotonic() + _GRACE
        elif time.monotonic() > until:
            _end(processes)
        time.sleep(0.1)
    if failed is not None:
        return failed
    ended = [process.wait() for process in processes]
    return next((code for code in ended if code not in _FINE), ended[0])


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill the processes that still run, and wait for them."""
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
