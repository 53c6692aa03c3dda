"""From a config to a plan, checked before any GPU is taken. No torch.

Whatever can be wrong with config, JSON, data, tokenizer, folder or disk is found here, and all
faults are reported at once.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from typing import Any

from gpt2zh.config import deepspeed
from gpt2zh.config.checks import config_faults
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import LaunchOptions, TrainingConfig
from gpt2zh.cost.memory import checkpoint_bytes
from gpt2zh.data.training_data import TrainingData
from gpt2zh.files import run_folder
from gpt2zh.model import shape
from gpt2zh.plan.fit import choose, provisional
from gpt2zh.plan.resume import refuse_other_run, resume_from, unknown_changes
from gpt2zh.plan.run_plan import CONFIG, IDENTITY, RunPlan
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import warn
from gpt2zh.ranks.world import World

OpenData = Callable[[list[str]], TrainingData | None]
"""Opens the data of a run; adds what is wrong to the list, and returns None then."""


def make_plan(
    config: TrainingConfig,
    options: LaunchOptions,
    world: World,
    open_data: OpenData,
    device: Callable[[], Device] | None = None,
) -> RunPlan:
    """Check everything and return what will be done.

    Files are only read; rank 0 alone reads all bytes of data and checkpoint.

    Args:
        config: What the user wants.
        options: How this start differs from others of the run.
        world: This rank's place.
        open_data: Opens what is trained on.
        device: Returns what this rank computes on. It is called only where the config leaves a
            choice, and only when config, JSON and data are right: the answer may cost time and some
            memory of a GPU.

    Raises:
        UserError: All that is wrong, in one message.
    """
    faults = config_faults(config)
    raw = _read_json(config, world, faults)
    data = open_data(faults)
    if data is not None:
        faults += _data_faults(config, data)
    faults += unknown_changes(options.allow_change)
    raise_all(faults, "this run cannot start")
    assert data is not None
    vocabulary = shape.padded_vocabulary(data.tokenizer.vocab_size)
    fit = choose(config, raw, vocabulary=vocabulary, ranks=world.size, device=device)
    if fit.warning is not None:
        warn(world, fit.warning)
    train, optimizer = fit.config.train, fit.config.optimizer
    resolved = deepspeed.resolve(fit.raw, train, optimizer, world.size)
    return _continued(RunPlan(fit.config, options, world, fit.raw, resolved, data))


def _read_json(config: TrainingConfig, world: World, faults: list[str]) -> dict[str, Any] | None:
    """Read the user's DeepSpeed JSON and try it with the config; None if none is named."""
    path, train = config.deepspeed_config, provisional(config.train)
    raw = attempt(lambda: deepspeed.read(path) if path else None, faults)
    if min(train.global_batch, train.rows_at_once) >= 1:  # else there is nothing to divide by
        some = profile(1) if raw is None else raw
        attempt(lambda: deepspeed.resolve(some, train, config.optimizer, world.size), faults)
    return raw


def _continued(plan: RunPlan) -> RunPlan:
    """Find the checkpoint to continue from, and check the folder to write to."""
    faults: list[str] = []
    checkpoint = attempt(lambda: resume_from(plan), faults)
    plan = dataclasses.replace(plan, resume_from=checkpoint)
    if checkpoint is not None and plan.world.is_main:
        progress = run_folder.read_state(checkpoint)["progress"]
        plan = dataclasses.replace(plan, done=(progress["step"], progress["rows"]))
    if plan.world.is_main and not faults:
        faults += attempt(lambda: _output_faults(plan), faults) or []
    raise_all(faults, "the output folder")
    return plan


def _data_faults(config: TrainingConfig, data: TrainingData) -> list[str]:
    found = []
    if config.validation.sample_tokens:
        context = config.model.context
        found += [
            f"validation.prompts: '{prompt}' is {length} tokens long, but the model's context is "
            f"{context} with the token that starts a document; use shorter prompts"
            for prompt in config.validation.prompts
            if (length := len(data.tokenizer.encode(prompt))) > context - 2
        ]
    if data.rows < config.train.global_batch:
        found.append(
            f"the data has {data.rows} training rows, less than one train.global_batch of "
            f"{config.train.global_batch}; use more text or a smaller global batch"
        )
    return found


def _output_faults(plan: RunPlan) -> list[str]:
    run = plan.config.output
    came_from = plan.resume_from and plan.resume_from.resolve().parent
    if came_from != run.resolve():
        if (run / IDENTITY).is_file():
            refuse_other_run(run, plan)
        elif (run / CONFIG).is_file():
            return [f"{run / CONFIG} is of another program; use another --output"]
    existing = next(place for place in (run, *run.parents) if place.exists())
    try:
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file")
        probe = existing / ".gpt2zh-can-write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return [f"--output {run} cannot be written: {error}; choose a folder that can"]
    fault = _disk_fault(plan, shutil.disk_usage(existing).free)
    return [] if fault is None else [fault]


def _disk_fault(plan: RunPlan, free: int) -> str | None:
    run, config = plan.config.output, plan.config
    needed = checkpoint_bytes(config.model, plan.vocabulary, config.optimizer.kind)
    needed *= config.checkpoint.keep_last + 1  # one more while the next is being written
    held = sum(f.stat().st_size for _, c in run_folder.list_checkpoints(run) for f in c.iterdir())
    if free + held >= needed:
        return None
    return (
        f"--output {run} has {free / 2**30:.1f} GiB free but checkpoints need "
        f"{needed / 2**30:.1f} GiB (checkpoint.keep_last + 1 of them); free some or keep fewer"
    )
