"""Pretraining starts of tiny models, one after the other in one group of forked ranks.

Starting processes takes longer than such a training; so what may share processes does, and what
must not (a resume) is another call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forked_ranks import run

from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run.training import train
from gpt2zh.train.engine import close, start_processes


def pretrain(ranks: int, cases: Sequence[Sequence[str]], folder: Path) -> None:
    """Train every case.

    Args:
        ranks: Processes.
        cases: Each is the argument list of launcher/pretrain.py.
        folder: Where what the ranks print goes.

    Raises:
        AssertionError: A rank failed; with what all have printed.
    """

    def act(world: World) -> None:
        device = start_processes(world)
        for argv in cases:
            config, options = parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain")
            watch = Watch(world, folder=config.output, hang_after=0)
            train(make_plan(config, options, world), StopRequest(), device, watch)
        close()

    run(ranks, folder, act)
