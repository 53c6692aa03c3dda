"""Ranks as forks of this process, which has imported everything: a start takes a second."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from patience import LIMIT

from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.logs import quiet_libraries
from gpt2zh.ranks.port import free_port
from gpt2zh.ranks.world import World
from gpt2zh.train.deepspeed_library import import_deepspeed

# DeepSpeed imports them while it builds an engine; Muon's brings all of torch.compile.
_IMPORTED_LATE = (
    "deepspeed.runtime.engine",
    "deepspeed.runtime.superoffload.superoffload_stage3",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "deepspeed.runtime.zero.stage3",
    "deepspeed.runtime.zero.stage_1_and_2",
)


def preload() -> None:
    """Import once what every fork would import again: with ZeRO 1 to 3, most of its start."""
    import_deepspeed()
    for name in _IMPORTED_LATE:
        with contextlib.suppress(ImportError):  # another version of DeepSpeed
            importlib.import_module(name)


def run(ranks: int, folder: Path, act: Callable[[World], None]) -> None:
    """Let so many ranks act, and wait for them.

    Args:
        ranks: Processes.
        folder: Where what they print goes, `0.log` and so on.
        act: What each of them does; it starts the process group itself.

    Raises:
        AssertionError: One of them failed or did not end; with what all have printed.
    """
    port = str(free_port())

    def work(rank: int) -> None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        from deepspeed.accelerator import get_accelerator

        # DeepSpeed refuses fp16 on CPUs without fp16 instructions, for its speed only.
        get_accelerator().is_fp16_supported = lambda: True
        quiet_libraries()
        act(World(rank, ranks, rank, ranks))

    logs = [folder / f"{rank}.log" for rank in range(ranks)]
    children = [fork(log, work, rank) for rank, log in enumerate(logs)]
    codes = _ends_of(children)
    assert codes == [0] * ranks, "\n".join(log.read_text("utf-8") for log in logs)


def launch(main: Callable[[], int], argv: Sequence[str], *, ranks: int, log: Path) -> int:
    """Exit code of ranks that run a command line as a launcher starts them.

    Like a launcher, this ends the others when one has failed.

    Args:
        main: Of the launcher script.
        argv: Its options.
        ranks: Processes.
        log: File for what all of them print.
    """
    port = str(free_port())

    def work(rank: int) -> None:
        os.environ |= World(rank, ranks, rank, ranks).variables()
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        sys.argv = ["launcher", *argv]
        raise SystemExit(main())

    children = [fork(log, work, rank) for rank in range(ranks)]
    codes = _ends_of(children, fine=(Exit.DONE, Exit.STOPPED))
    (code,) = {code for code in codes if code is not None}
    return code


def run_ranks(
    module: str,
    arguments: Sequence[str],
    *,
    ranks: int,
    settings: dict[str, str],
    show: Callable[[str], None],
) -> int:
    """Do what `gpt2zh.ranks.local.run_ranks` does, with forks; a module's `main` is called."""

    def main() -> int:
        os.environ |= settings
        return int(importlib.import_module(module).main())

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        code = launch(main, arguments, ranks=ranks, log=log)
        for line in log.read_text("utf-8").splitlines():
            show(line)
    return code


def _ends_of(children: Sequence[int], fine: Sequence[int] = ()) -> list[int | None]:
    """Exit codes of processes; None for one that has not ended in time, and is killed.

    Args:
        children: Their pids.
        fine: Codes after which the others may go on; with them, a failure leaves them 10 seconds.
    """
    codes: dict[int, int] = {}
    deadline = time.monotonic() + LIMIT
    while len(codes) < len(children) and time.monotonic() < deadline:
        for child in set(children) - codes.keys():
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
                if fine and codes[child] not in fine:
                    deadline = min(deadline, time.monotonic() + 10)
        time.sleep(0.005)
    for child in set(children) - codes.keys():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return [codes.get(child) for child in children]


def fork(log: Path, work: Callable[[int], None], rank: int) -> int:
    """Start a process that does the work of a rank on the CPU, prints to a file and ends.

    Returns:
        Its pid.
    """
    preload()
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        os.environ |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        gc.freeze()  # DeepSpeed collects garbage as it builds an engine, among all these objects
        work(rank)
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
