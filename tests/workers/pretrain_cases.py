"""Run several pretraining starts one after the other in one process group.

Each case is the argument list of launcher/pretrain.py. Starting the processes takes longer than
the training of a tiny model; so what may share processes does, and what must not (a resume) is
another call.
"""

import json
import sys

from gpt2zh.config.cli import parse
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.dist.logs import quiet_libraries
from gpt2zh.dist.stop import StopRequest
from gpt2zh.dist.watch import Watch
from gpt2zh.dist.world import World
from gpt2zh.recipes.planning import make_plan

if __name__ == "__main__":
    quiet_libraries()
    payload = json.loads(sys.argv[1])
    from deepspeed.accelerator import get_accelerator

    from gpt2zh.recipes.pretrain import train
    from gpt2zh.train.engine import close, start_processes

    if payload.get("fp16"):
        # DeepSpeed refuses fp16 on CPUs without fp16 instructions, for its speed; torch computes
        # it anyway, and loss scaling is the same code as on a GPU.
        get_accelerator().is_fp16_supported = lambda: True
    world = World.detect()
    device = start_processes(world)
    for argv in payload["cases"]:
        config, options = parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain")
        watch = Watch(world, folder=config.output, hang_after=0)
        train(make_plan(config, options, world), StopRequest(), device, watch)
    close()
