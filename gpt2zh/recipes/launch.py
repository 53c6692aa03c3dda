"""A pretraining process from its command line to its exit code: what launcher/pretrain.py runs.

It lies in the package so that `gpt2zh verify resume` can start the same (`python -m
gpt2zh.recipes.launch`) where there is no launcher script. What is imported here is light: torch
waits until signals are listened to and the plan is checked.
"""

from __future__ import annotations

import platform
import sys
import time

from gpt2zh.config.cli import parse
from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.dist.logs import quiet_libraries
from gpt2zh.dist.stop import StopRequest
from gpt2zh.dist.watch import Watch
from gpt2zh.dist.world import World
from gpt2zh.recipes.announce import announce
from gpt2zh.recipes.planning import make_plan
from gpt2zh.recipes.rehearsal import refuse_stray_options, rehearse


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
        device = rehearsal = None
        refuse_stray_options(options, world)
        if options.ranks is not None:
            rehearsal = rehearse(options, config.train)
            world, device = rehearsal.world, rehearsal.device
        elif config.train.micro_batch == "auto" or config.deepspeed_config is None:
            from gpt2zh.train.engine import device_here

            device = device_here(world)
        plan = make_plan(config, options, world, device)
        announce(plan)
        from gpt2zh.recipes.pretrain import run
        from gpt2zh.train.engine import check_engine_options

        if rehearsal is None:
            check_engine_options(plan.resolved)
        else:
            check_engine_options(rehearsal.without_device(plan.resolved))
            rehearsal.announce(plan)
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


if __name__ == "__main__":
    sys.exit(main())
