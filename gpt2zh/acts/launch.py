"""A pretraining process from its command line to its exit code: what launcher/pretrain.py runs.

It lies in the package so that `gpt2zh verify resume` can start the same (`python -m
gpt2zh.acts.launch`) where there is no launcher script. What is imported here is light: torch
waits until signals are listened to and the plan is checked, or lacks nothing but the answer of the
device.
"""

from __future__ import annotations

import platform
import sys
import time

from gpt2zh.config.cli import parse
from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.plan.describe import announce
from gpt2zh.plan.make import make_plan
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import quiet_libraries
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World


def main() -> int:
    """Check everything first, and only then take the GPUs; torch is imported in between."""
    world = World.detect()
    stop = StopRequest()
    stop.install()
    quiet_libraries()
    try:
        config, options = parse(
            PretrainConfig, LaunchOptions, prog="deepspeed launcher/pretrain.py"
        )
        plan = make_plan(config, options, world, lambda: _device(world))
        announce(plan)
        from gpt2zh.run.training import run
        from gpt2zh.train.engine import check_precision, check_zero_options

        check_zero_options(plan.resolved)
        check_precision(config.train.precision)
        if options.dry_run:
            return Exit.DONE
        hang_after = config.guard.hang_after.seconds
        return run(plan, stop, Watch(world, folder=plan.stacks, hang_after=hang_after))
    except UserError as error:
        who = "" if world.is_main else f" on rank {world.rank} ({platform.node()})"
        if not world.is_main:
            time.sleep(3)  # when rank 0 found the same, this process is ended meanwhile
        print(f"error{who}: {error}", file=sys.stderr, flush=True)
        return Exit.REFUSED
    except RunError as error:  # all ranks know of it
        if world.is_main:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return error.code


def _device(world: World) -> Device:
    """What this rank computes on: the first question that needs torch, and a bit of the GPU."""
    from gpt2zh.train.engine import device_here

    return device_here(world)


if __name__ == "__main__":
    sys.exit(main())
