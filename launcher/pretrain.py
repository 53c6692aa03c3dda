"""Pretrain: deepspeed launcher/pretrain.py --config FILE --data SHARDS --output RUN [...]."""

import sys

from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.dist.logs import quiet_libraries
from gpt2zh.dist.stop import StopRequest
from gpt2zh.dist.world import World
from gpt2zh.recipes.plan import announce, make_plan


def main() -> int:
    """Check everything first, and only then import torch and take the GPUs."""
    world = World.detect()
    quiet_libraries()
    stop = StopRequest()
    try:
        config, options = parse(
            PretrainConfig, LaunchOptions, prog="deepspeed launcher/pretrain.py"
        )
        plan = make_plan(config, options, world)
    except UserError as error:
        if world.is_main:
            print(f"error: {error}", file=sys.stderr)
        return 2
    announce(plan)
    if options.dry_run:
        return 0
    stop.install()
    from gpt2zh.recipes.pretrain import run

    run(plan, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
