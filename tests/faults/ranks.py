"""Start ranks as forks of a process that has imported everything: one second, not ten."""

from __future__ import annotations

import gc
import importlib
import itertools
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
from types import ModuleType
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
from tests.faults.fault import Fault, FaultyWatch

import_deepspeed()  # imported once, for all forks
# Every ZeRO engine imports it, and with it torch's compiler. On a busy machine that takes seconds,
# after which the watch of a fork believes that the rank hangs.
importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")

FOLLOW = 15.0
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
    """Start the ranks of a run, and wait until they end by themselves.

    Args:
        argv: The command line of launcher/pretrain.py.
        ranks: Number of processes.
        fault: Strikes one of them.
        sabotage: How to break the code, see `break_code`.
        log: File for their output.
        told: File that gets a line when the fault strikes.
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
        probe.bind(("127.0.0.1", port))  # fails if a rank still listens
    return Ended([codes[rank] for rank in range(ranks)], last - first, stuck)


def _become(rank: int, ranks: int, port: int, log: Path) -> None:
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
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)


def _run(argv: list[str], fault: Fault | None, sabotage: str | None, told: Path) -> int:
    """Run like `launcher/pretrain.py`, with a watch in which a fault strikes."""
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
    except BaseException:  # this is a fork of pytest, which must not go on here
        traceback.print_exc()
        return Exit.CRASHED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _poison_losses(watch: FaultyWatch) -> None:
    """Let the watch spoil a training loss, or its gradient."""
    forward = SummedLoss.forward

    def poisoned(self: SummedLoss, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
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


SABOTAGES = ("random numbers", "prefetched rows", "moments", "trust in files")


def break_code(name: str) -> None:
    """Break a promise on purpose, so that a test can see that the comparison notices it.

    Args:
        name: `random numbers`: every start begins with the same random numbers; `prefetched
            rows`: rows that were only read ahead count as used; `moments`: half of the optimizer's
            state is not restored; `trust in files`: a checkpoint is written under its final name,
            and every checkpoint counts as complete.
    """
    if name == "random numbers":
        steps = itertools.count(1)

        def restarted(seed: int, step: int, rank: int) -> int:
            return step_seed(seed, step=next(steps), rank=rank)

        _replace(loop, "step_seed", restarted)
    elif name == "prefetched rows":
        take = snapshot.take

        def counted(*arguments: Any) -> snapshot.Snapshot:
            taken = take(*arguments)
            taken.described["progress"]["rows"] += _AHEAD * 8
            return taken

        _replace(snapshot, "take", counted)
    elif name == "moments":
        restore = master_weights.restore

        def half(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
            restore(engine, lambda k, n: read(k, n) * (k != "exp_avg_sq"), updates)

        _replace(master_weights, "restore", half)
    elif name == "trust in files":
        _replace(run_folder, "find_faults", lambda path, content: [])
        _replace(run_folder, "writing_path", run_folder.checkpoint_path)
        _replace(run_folder, "begin", _begin_under_the_final_name)
        _replace(run_folder, "commit", lambda temporary, final, entries: None)
    else:
        raise ValueError(f"{name!r} is not one of {SABOTAGES}")


def _replace(module: ModuleType, name: str, value: Any) -> None:
    assert hasattr(module, name), f"{module.__name__} has no {name} any more"
    setattr(module, name, value)


def _begin_under_the_final_name(run: Path, number: int) -> None:
    run_folder.checkpoint_path(run, number).mkdir(exist_ok=True)
