"""A training process from its command line to its exit code, whatever it trains.

A launcher script calls `launch` with the config class of its act and the function that makes its
plan. This module imports nothing heavy: torch is imported only after the signal handlers are
installed and the plan is checked, or when only the device is still unknown.
"""

from __future__ import annotations

import contextlib
import faulthandler
import platform
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.cli import parse
from gpt2zh.config.console import drop_lost_output, prepare_output
from gpt2zh.config.errors import RunError, UserError, raise_all
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LaunchOptions, TrainingConfig
from gpt2zh.files.lock import RunLock
from gpt2zh.plan.describe import announce, warn_of_slow_cpu
from gpt2zh.plan.fit import with_any_micro_batch
from gpt2zh.plan.machine import find_machine
from gpt2zh.plan.output import check_output
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import quiet_libraries
from gpt2zh.ranks.port import check_meeting_place
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World

Config = TypeVar("Config", bound=TrainingConfig)
REFUSED = "this run cannot start"
"""Title of all that is wrong with a start."""
MakePlan = Callable[[Config, LaunchOptions, World, Callable[[], Device] | None], RunPlan]
"""Checks a config and returns its plan; raises a UserError with everything that is wrong."""


def launch(config_class: type[Config], make_plan: MakePlan[Config]) -> int:
    """Run one rank of an act that trains, and return its exit code.

    First everything is checked, then torch is imported, and only then GPUs are taken.

    Args:
        config_class: Config of the act, read from the command line and the config file.
        make_plan: Makes the plan of such a config.
    """
    stop = StopRequest()
    stop.install()
    quiet_libraries()
    drop_lost_output()
    # Whoever reads a truncated shard dies by SIGBUS: show where.
    faulthandler.enable(sys.__stderr__ or sys.stderr)
    world = World()
    try:
        prepare_output()
        world = World.detect()
        prog = f"deepspeed launcher/{config_class.act}.py"
        config, options = parse(config_class, LaunchOptions, prog=prog)
        check_output(config)
        if not options.dry_run:
            check_meeting_place(world)
        with _hold_folder(config, options, world, stop) as lock:
            with _with_faults_of_deepspeed(config, world):
                plan = make_plan(config, options, world, lambda: find_device(world))
            announce(plan)
            warn_of_slow_cpu(plan, find_machine())
            from gpt2zh.run.training import run_training
            from gpt2zh.train.deepspeed_library import check_options, check_precision

            check_options(plan.resolved)
            check_precision(config.train.precision)
            if options.dry_run:
                return Exit.DONE
            hang_after = config.guard.hang_after.seconds
            watch = Watch(world, folder=plan.stacks, hang_after=hang_after)
            return run_training(plan, stop, watch, lock)
    except UserError as error:
        who = "" if world.is_main else f" on rank {world.rank} ({platform.node()})"
        if not world.is_main:
            time.sleep(3)  # rank 0 ends this process meanwhile if it found the same error
        print(f"error{who}: {error}", file=sys.stderr, flush=True)
        return Exit.REFUSED
    except RunError as error:
        if world.is_main or not error.is_everywhere:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return error.code


@contextlib.contextmanager
def _with_faults_of_deepspeed(config: TrainingConfig, world: World) -> Iterator[None]:
    """Add to a refusal what DeepSpeed rejects, so that all faults come at once."""
    try:
        yield
    except UserError as error:
        if more := _ask_deepspeed(config, world):
            raise_all([*(error.faults or [str(error)]), *more], REFUSED)
        raise


def _ask_deepspeed(config: TrainingConfig, world: World) -> list[str]:
    """Return what DeepSpeed rejects in the user's JSON, for a start that is refused anyway.

    It takes seconds to import, so it is not asked about the JSONs of this project.
    """
    path = config.deepspeed_config
    if path is None or not world.is_main:
        return []
    try:
        raw = deepspeed.read(path)
    except UserError:  # reported already
        return []
    if raw in profiles.candidates(2):
        return []
    from gpt2zh.train.deepspeed_library import find_faults

    train = with_any_micro_batch(config.train)
    filled, _ = deepspeed.draft(raw, train, config.optimizer, world.size)
    return find_faults(filled)


@contextlib.contextmanager
def _hold_folder(
    config: TrainingConfig, options: LaunchOptions, world: World, stop: StopRequest
) -> Iterator[RunLock | None]:
    """Lock the run folder on rank 0, before the plan looks for checkpoints in it.

    Another start that still saves could complete a newer one after that look. A refused start
    leaves no trace.
    """
    if options.dry_run or not world.is_main:
        yield None
        return
    lock = RunLock(config.output, asked=lambda: stop.request("gpt2zh stop"))
    try:
        yield lock
    except UserError:
        lock.discard()
        raise
    except BaseException:
        lock.release()
        raise
    lock.release()


def find_device(world: World) -> Device:
    """Return what this rank computes on; this imports torch and takes some memory of the GPU."""
    from gpt2zh.train.engine import detect_device

    return detect_device(world)
