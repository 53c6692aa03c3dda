"""Start ranks as forks of a process that has imported everything: one second, not ten."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import math
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt2zh.acts import launch
from gpt2zh.acts.pretrain import main
from gpt2zh.config.exit_codes import Exit
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.port import free_port
from gpt2zh.ranks.world import World
from gpt2zh.train.deepspeed_library import import_deepspeed
from tests.faults import clock, early
from tests.faults.fault import Fault, FaultyWatch
from tests.faults.output import LOG, Output
from tests.faults.replacing import replace
from tests.faults.sabotage import break_code

# Imported once, for all forks.
import_deepspeed()
importlib.import_module("gpt2zh.run.training")
# Every ZeRO engine imports it, and with it torch's compiler. On a busy machine that takes seconds,
# after which the watch of a fork believes that the rank hangs.
importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")

FOLLOW = 30.0
"""Seconds in which the other ranks must end after the first one has ended."""


@dataclass(frozen=True)
class Ended:
    """The ways in which the ranks of one start ended."""

    codes: list[int]
    """Exit code of each rank; minus the number of the signal that killed it."""
    apart: float
    """Seconds from the end of the first to the end of the last."""
    stuck: list[int]
    """Ranks that had to be killed."""


@dataclass(frozen=True)
class Setting:
    """What is different in the ranks of one start."""

    told: Path
    """File that gets a line when the fault strikes; without its suffix, the run folder."""
    fault: Fault | None = None
    """Strikes one of them."""
    sabotage: str | None = None
    """How to break the code, see `tests.faults.sabotage`."""
    hours: float | None = None
    """If given, they are on another machine, whose clock is ahead by so much."""
    accepted: Path | None = None
    """File that gets the monotonic time when rank 0 holds the folder and has its plan."""


class Ranks:
    """The ranks of one start, without a launcher that ends the others when one has died."""

    def __init__(
        self,
        argv: Sequence[str],
        setting: Setting,
        *,
        ranks: int,
        patience: float,
        log: Path,
        output: str = LOG,
        port: int | None = None,
    ) -> None:
        """Start them.

        Args:
            argv: The command line of launcher/pretrain.py.
            setting: What is different in them.
            ranks: Number of processes.
            patience: Seconds after which they are killed; `FOLLOW` after the end of the first one.
            log: File for their output.
            output: Kind of output, see `tests.faults.output`.
            port: Where they meet; None for a free one.
        """
        self.port = port or free_port()
        self.codes: dict[int, int] = {}
        self._stuck: list[int] = []
        self._then = setting.fault.then if setting.fault else ""
        self._patience = patience
        self._owns_port = port is None
        self._begun, self._first, self._last = time.monotonic(), 0.0, 0.0
        self._output = Output(output, log)
        self._processes = {}
        sys.stdout.flush()
        for rank in range(ranks):
            child = os.fork()
            if child == 0:
                try:
                    _become(rank, ranks, self.port, self._output)
                    os._exit(_run(list(argv), setting, rank))
                finally:  # this fork of the parent must never go on here
                    os._exit(Exit.CRASHED)
            self._processes[child] = rank

    @property
    def has_ended(self) -> bool:
        """Whether all have ended."""
        return len(self.codes) == len(self._processes)

    def poll(self) -> None:
        """Note who has ended, and act on the others if it is time."""
        self._output.look()
        for child, rank in self._processes.items():
            if rank not in self.codes:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    self._last = time.monotonic()
                    self._first = self._first or self._last
                    self.codes[rank] = os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        since = now - self._first if self._first else 0.0
        if Exit.REFUSED in self.codes.values() and not self._then:
            self._then = "SIGTERM"  # as every launcher does
        if self._then and since > 1.0:
            self._send(signal.Signals[self._then])
            self._then = ""
        if now - self._begun > self._patience or since > FOLLOW:
            self._stuck += [rank for rank in self._processes.values() if rank not in self.codes]
            self._send(signal.SIGKILL)

    def wait(self, meanwhile: Callable[[Ranks], None] | None = None) -> Ended:
        """Wait until all have ended by themselves, and return how.

        Args:
            meanwhile: Called again and again.
        """
        while not self.has_ended:
            self.poll()
            if meanwhile is not None:
                meanwhile(self)
            time.sleep(0.01)
        self._output.close()
        codes = [self.codes[rank] for rank in range(len(self.codes))]
        return Ended(codes, self._last - self._first, sorted(set(self._stuck)))

    def check_port(self) -> None:
        """Raise an OSError if a rank still listens."""
        if self._owns_port:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", self.port))

    def _send(self, number: signal.Signals) -> None:
        for child, rank in self._processes.items():
            if rank not in self.codes:
                os.kill(child, number)


def start(
    argv: Sequence[str],
    *,
    ranks: int,
    fault: Fault | None,
    sabotage: str | None,
    log: Path,
    told: Path,
    patience: float,
) -> Ended:
    """Start the ranks of a run, and wait until they end by themselves; see `Ranks`."""
    setting = Setting(told, fault, sabotage)
    started = Ranks(argv, setting, ranks=ranks, patience=patience, log=log)
    ended = started.wait()
    started.check_port()
    return ended


def _become(rank: int, ranks: int, port: int, output: Output) -> None:
    """Turn this fork into a process as a launcher starts it."""
    gc.freeze()  # collections would touch, and so copy, every object of the parent
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    output.attach()


def _run(argv: list[str], setting: Setting, rank: int) -> int:
    """Run launcher/pretrain.py, with a watch in which a fault strikes."""
    try:
        clock.shorten_beats()
        if setting.hours is not None:
            clock.move_elsewhere(setting.hours)
        early.prepare(setting.fault, rank, setting.told.with_suffix(""), setting.told)
        replace(launch, "Watch", functools.partial(_watch, setting))
        if setting.sabotage is not None:
            break_code(setting.sabotage)
        sys.argv[1:] = argv
        return main()
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return Exit.CRASHED
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def _watch(setting: Setting, world: World, *, folder: Path, hang_after: float) -> FaultyWatch:
    """Make the watch of a rank; the run folder is held and the plan is made."""
    if setting.accepted is not None and world.is_main:
        setting.accepted.write_text(str(time.monotonic()), "ascii")
    watch = FaultyWatch(
        world, folder=folder, hang_after=hang_after, fault=setting.fault, told=setting.told
    )
    _poison_losses(watch)
    return watch


def _poison_losses(watch: FaultyWatch) -> None:
    """Let the watch spoil a training loss, or its gradient."""
    forward = SummedLoss.forward

    def poisoned(self: SummedLoss, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        loss = forward(self, input_ids, labels)
        kind = watch.poison() if torch.is_grad_enabled() else None
        if kind is None:
            return loss
        if kind == "loss is NaN":
            return loss + math.nan  # its gradient is finite: only the loss shows it
        if kind == "loss is high":
            return loss * 5
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    setattr(SummedLoss, "forward", poisoned)  # noqa: B010 (mypy refuses to assign to a method)
