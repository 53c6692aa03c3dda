"""Ranks as forks of a process that has imported everything: a start takes a second, not ten."""

from __future__ import annotations

import gc
import itertools
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt2zh.acts.pretrain import make_plan
from gpt2zh.checkpoint import master_weights, snapshot
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.data.loader import _AHEAD
from gpt2zh.files import run_folder
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.world import World
from gpt2zh.run import training
from gpt2zh.train import loop
from gpt2zh.train.deepspeed_library import import_deepspeed
from gpt2zh.train.step import step_seed
from torture.faults import Fault, FaultyWatch

import_deepspeed()  # imported once, for all forks


FOLLOW = 15.0
"""Seconds in which the other ranks must have followed the first one that ended."""


@dataclass(frozen=True)
class Ended:
    """How the ranks of one start ended."""

    codes: list[int]
    """Exit code by rank; minus the number of the signal that killed it."""
    apart: float
    """Seconds from the end of the first to the end of the last."""
    stuck: list[int]
    """Ranks that had to be killed."""


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
    """Start the ranks of a run, and wait until they have ended by themselves.

    Args:
        argv: The command line of launcher/pretrain.py.
        ranks: Processes.
        fault: What happens to one of them.
        sabotage: A way in which the code is broken, see `break_code`.
        log: Gets what they print.
        told: Gets a line when the fault strikes.
        patience: Seconds after which they are killed; `FOLLOW` after the end of the first one.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sys.stdout.flush()
    processes = {}
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            _become(rank, ranks, port, log)
            os._exit(_run(list(argv), fault, sabotage, told))
        processes[child] = rank
    codes: dict[int, int] = {}
    stuck: list[int] = []
    begun, first, last = time.monotonic(), 0.0, 0.0
    while len(codes) < ranks:
        for child, rank in processes.items():
            if rank not in codes:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    last = time.monotonic()
                    first = first or last
                    codes[rank] = os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if now - begun > patience or (first and now - first > FOLLOW):
            for child, rank in processes.items():
                if rank not in codes and rank not in stuck:
                    stuck.append(rank)
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # which somebody who still listened would refuse
    return Ended([codes[rank] for rank in range(ranks)], last - first, stuck)


def _become(rank: int, ranks: int, port: int, log: Path) -> None:
    """Make this fork a process as a launcher would have started it."""
    gc.freeze()  # collections would touch, and so copy, every object of the parent
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)


def _run(argv: list[str], fault: Fault | None, sabotage: str | None, told: Path) -> int:
    """As `launcher/pretrain.py` does, with a watch in which a fault strikes."""
    stop = StopRequest()
    stop.install()
    world = World.detect()
    try:
        config, options = parse(PretrainConfig, LaunchOptions, argv=argv, prog="torture")
        plan = make_plan(config, options, world)
        hang_after = config.guard.hang_after.seconds
        watch = FaultyWatch(
            world, folder=plan.stacks, hang_after=hang_after, fault=fault, told=told
        )
        _poison_losses(watch)
        if sabotage is not None:
            break_code(sabotage)
        return training.run_training(plan, stop, watch)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return Exit.REFUSED
    except RunError as error:
        if world.is_main:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return error.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _poison_losses(watch: FaultyWatch) -> None:
    """Let the watch spoil one loss of the training, or its gradient."""
    forward = SummedLoss.forward

    def poisoned(self: SummedLoss, *inputs: torch.Tensor) -> torch.Tensor:
        loss = forward(self, *inputs)
        kind = watch.poison() if torch.is_grad_enabled() else None
        if kind is None:
            return loss
        if kind == "loss is NaN":
            return loss + math.nan  # its gradient is finite: only the loss can tell
        if kind == "loss is high":
            return loss * 5
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    SummedLoss.forward = poisoned


SABOTAGES = ("random numbers", "prefetched rows", "moments", "trust in files")


def break_code(name: str) -> None:
    """Break a promise on purpose: whatever compares the results must notice.

    Args:
        name: `random numbers`: they begin anew in every start, as if their state was not restored;
            `prefetched rows`: the rows read ahead count as consumed; `moments`: half of the
            optimizer's state is not restored; `trust in files`: a checkpoint is written under its
            final name and taken for whole.
    """
    if name == "random numbers":
        steps = itertools.count(1)
        loop.step_seed = lambda seed, step, rank: step_seed(seed, step=next(steps), rank=rank)
    elif name == "prefetched rows":
        take = snapshot.take

        def counted(*arguments: Any) -> snapshot.Snapshot:
            taken = take(*arguments)
            taken.described["progress"]["rows"] += _AHEAD * 8
            return taken

        snapshot.take = counted
    elif name == "moments":
        restore = master_weights.restore

        def half(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
            restore(engine, lambda k, n: read(k, n) * (k != "exp_avg_sq"), updates)

        master_weights.restore = half
    elif name == "trust in files":
        run_folder.find_faults = lambda path, content: []
        run_folder.writing_path = run_folder.checkpoint_path
        run_folder.begin = lambda run, number: (run / f"checkpoint-{number}").mkdir(exist_ok=True)
        run_folder.commit = lambda temporary, final, entries: None
    else:
        raise ValueError(f"{name}: none of {SABOTAGES}")
