"""Pretraining starts one after the other in one process group, some short of memory or compiler.

`spare` lets the last rank allocate only so many bytes while it tries a micro-batch; `compile` lets
the model be compiled although there is no GPU, as `train.compile` auto does where there is one.
"""

import dataclasses
import json
import os
import resource
import sys
from pathlib import Path

from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.ranks.logs import quiet_libraries
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World


def limit_memory(spare: int | None) -> None:
    """Let this process allocate so many more bytes; None lifts the limit."""
    limit = resource.RLIM_INFINITY
    if spare is not None:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        limit = pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


class TightWatch(Watch):
    """Takes memory away while a micro-batch is tried, and gives it back."""

    spare: int | None = None

    def mark(self, phase: str) -> None:
        super().mark(phase)
        world = World.detect()
        if world.rank == world.size - 1:
            limit_memory(self.spare if phase == "trying a micro-batch" else None)


if __name__ == "__main__":
    quiet_libraries()
    payload = json.loads(sys.argv[1])
    if "compiler" in payload:
        os.environ["CXX"] = payload["compiler"]
    import torch
    from torch._dynamo.utils import counters

    from gpt2zh.run import start
    from gpt2zh.run.training import train
    from gpt2zh.train.engine import close, start_processes

    world, setting = World.detect(), start._setting
    device = start_processes(world)
    for case in payload["cases"]:
        config, options = parse(PretrainConfig, LaunchOptions, argv=case["argv"], prog="pretrain")
        watch = TightWatch(world, folder=config.output, hang_after=0)
        watch.spare = case.get("spare")
        if case.get("compile"):
            start._setting = lambda plan, device: dataclasses.replace(
                setting(plan, device), compile="always"
            )
        try:
            train(make_plan(config, options, world), StopRequest(), device, watch)
        except UserError as error:
            print(f"refused: {error}", flush=True)
        if config.train.compile == "always":
            print(f"compiled {counters['stats']['unique_graphs']} graphs", flush=True)
        torch._dynamo.reset()
        counters.clear()
    close()
