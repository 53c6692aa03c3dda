"""Pretrain a GPT-2 on packed shards: what launcher/pretrain.py runs."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gpt2zh.acts.launch import launch
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.plan import make
from gpt2zh.plan.corpora import open_shards
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.world import World


def make_plan(
    config: PretrainConfig,
    options: LaunchOptions,
    world: World,
    device: Callable[[], Device] | None = None,
) -> RunPlan:
    """Check a pretraining run and return its plan; see `gpt2zh.plan.make.make_plan`."""
    return make.make_plan(
        config, options, world, lambda faults: open_shards(config, world, faults), device
    )


def main() -> int:
    """Run one rank from its command line to its exit code."""
    return launch(PretrainConfig, make_plan)


if __name__ == "__main__":  # `gpt2zh verify resume` starts it so: a wheel has no launcher scripts
    sys.exit(main())
