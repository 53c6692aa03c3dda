"""Pretrain: deepspeed launcher/pretrain.py --config FILE --data SHARDS --output RUN [...]."""

import platform
import sys
import time

from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.dist.logs import quiet_libraries
from gpt2zh.dist.stop import StopRequest
from gpt2zh.dist.world import World
from gpt2zh.recipes.announce import announce
from gpt2zh.recipes.plan import make_plan


def main() -> int:
    """Check everything first, and only then take the GPUs; torch is imported in between."""
    world = World.detect()
    quiet_libraries()
    stop = StopRequest()
    try:
        config, options = parse(
            PretrainConfig, LaunchOptions, prog="deepspeed launcher/pretrain.py"
        )
        plan = make_plan(config, options, world)
        announce(plan)
        stop.has_work = False
        stop.install()
        from gpt2zh.recipes.pretrain import run
        from gpt2zh.train.engine import check_engine_options

        check_engine_options(plan.resolved)
        if not options.dry_run:
            run(plan, stop)
    except UserError as error:
        who = "" if world.is_main else f" on rank {world.rank} ({platform.node()})"
        if not world.is_main:
            time.sleep(3)  # when rank 0 found the same, this process is ended meanwhile
        print(f"error{who}: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
