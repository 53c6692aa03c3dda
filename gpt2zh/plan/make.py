"""From a config to a plan, checked before any GPU is taken. No torch.

Everything that can be wrong with config, DeepSpeed JSON, data, tokenizer, output folder or disk is
found here, and all faults are reported at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gpt2zh.config import deepspeed
from gpt2zh.config.checks import config_faults
from gpt2zh.config.cli import dump_plain, to_plain
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.config.paths import IDENTITY
from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import LaunchOptions, TrainingConfig
from gpt2zh.cost.memory import checkpoint_bytes
from gpt2zh.data.training_data import TrainingData
from gpt2zh.files import run_folder
from gpt2zh.model import shape
from gpt2zh.pages.numbers import plural
from gpt2zh.plan.fit import choose, with_any_micro_batch
from gpt2zh.plan.resume import check_allowed_changes, find_checkpoint, refuse_other_run
from gpt2zh.plan.run_plan import CONFIG, RunPlan
from gpt2zh.plan.saved_state import read_saved_state
from gpt2zh.plan.setup import Setup
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import warn
from gpt2zh.ranks.world import World

OpenData = Callable[[list[str]], TrainingData | None]
"""Opens the data of a run and adds what is wrong with it to the list; None if it cannot."""
FindDevice = Callable[[], Device]
"""Returns what a rank computes on. It is called only if the config leaves a choice, and only once
config, JSON and data are right: the answer may cost time and some memory of a GPU."""


def make_plan(
    config: TrainingConfig,
    options: LaunchOptions,
    world: World,
    open_data: OpenData,
    device: FindDevice | None = None,
) -> RunPlan:
    """Check everything and return what the run will do.

    Files are only read; rank 0 alone reads all bytes of data and checkpoint.

    Args:
        config: What the user wants.
        options: How this start differs from others of the run.
        world: This rank's place.
        open_data: Opens the training data.
        device: Finds what this rank computes on; None assumes a GPU of 24 GB.

    Raises:
        UserError: All that is wrong, in one message.
    """
    return continue_run(check_run(config, options, world, open_data, device))


def check_run(
    config: TrainingConfig,
    options: LaunchOptions,
    world: World,
    open_data: OpenData,
    device: FindDevice | None = None,
) -> RunPlan:
    """Check config, JSON and data, and return the plan of a new run; see `make_plan`.

    Raises:
        UserError: All that is wrong, in one message.
    """
    faults = config_faults(config)
    raw = _read_json(config, world, faults)
    data = attempt(lambda: open_data(faults), faults)
    if data is not None:
        faults += _data_faults(config, data)
    faults += check_allowed_changes(options.allow_change)
    raise_all(faults, "this run cannot start")
    assert data is not None
    setup = _fill_in(config, raw, data.tokenizer.vocab_size, world, device)
    return RunPlan(setup.config, options, world, dict(setup.raw), dict(setup.resolved), data)


def check_setup(
    config: TrainingConfig, tokens: int, world: World, device: FindDevice | None = None
) -> Setup:
    """Check config and JSON without data or output folder.

    Args:
        config: What the user wants.
        tokens: Tokens of the tokenizer.
        world: The ranks.
        device: Finds what a rank computes on; None assumes a GPU of 24 GB.

    Raises:
        UserError: All that is wrong, in one message.
    """
    faults = config_faults(config)
    raw = _read_json(config, world, faults)
    raise_all(faults, "this run cannot start")
    return _fill_in(config, raw, tokens, world, device)


def continue_run(plan: RunPlan, *, is_elsewhere: bool = False) -> RunPlan:
    """Find the checkpoint to continue from, and check the output folder.

    Args:
        plan: That of a new run.
        is_elsewhere: The run is planned for other machines, so a disk of this one that is full or
            cannot be written is only worth a warning.

    Raises:
        UserError: The folder or checkpoint is of another run, or cannot be used.
    """
    faults: list[str] = []
    checkpoint = attempt(lambda: find_checkpoint(plan), faults)
    plan = dataclasses.replace(plan, resume_from=checkpoint)
    if checkpoint is not None and plan.world.is_main:
        progress = read_saved_state(checkpoint)["progress"]
        plan = dataclasses.replace(plan, done=(progress["step"], progress["rows"]))
    if plan.world.is_main and not faults:
        faults += attempt(lambda: _other_run_faults(plan), faults) or []
    if plan.world.is_main and not faults:
        here = attempt(lambda: _disk_faults(plan), faults) or []
        if is_elsewhere:
            for fault in here:
                warn(plan.world, f"{fault} (this machine; the run is planned for others)")
        else:
            faults += here
    raise_all(faults, "the output folder")
    return plan


def _read_json(config: TrainingConfig, world: World, faults: list[str]) -> dict[str, Any] | None:
    """Read the user's DeepSpeed JSON and try it with the config; None if none is named."""
    path, train = config.deepspeed_config, with_any_micro_batch(config.train)
    raw = attempt(lambda: deepspeed.read(path) if path else None, faults)
    if min(train.global_batch, train.rows_at_once) >= 1:  # else there is nothing to divide by
        some = profile(1) if raw is None else raw
        faults += deepspeed.draft(some, train, config.optimizer, world.size)[1]
    return raw


def _fill_in(
    config: TrainingConfig,
    raw: dict[str, Any] | None,
    tokens: int,
    world: World,
    device: FindDevice | None,
) -> Setup:
    """Choose what a checked config leaves open."""
    vocabulary = shape.padded_vocabulary(tokens)
    fit = choose(config, raw, vocabulary=vocabulary, ranks=world.size, device=device)
    if fit.warning is not None:
        warn(world, fit.warning)
    train, optimizer = fit.config.train, fit.config.optimizer
    resolved = deepspeed.resolve(fit.raw, train, optimizer, world.size)
    return Setup(fit.config, tokens, world.size, fit.raw, resolved)


def _data_faults(config: TrainingConfig, data: TrainingData) -> list[str]:
    found = []
    if config.validation.sample_tokens:
        context = config.model.context
        found += [
            f"validation.prompts: '{prompt}' is {plural(length, 'token')} long, but the model's "
            f"context is "
            f"{context} with the token that starts a document; use shorter prompts"
            for prompt in config.validation.prompts
            if (length := len(data.tokenizer.encode(prompt))) > context - 2
        ]
    if data.rows < config.train.global_batch:
        found.append(
            f"the data has {plural(data.rows, 'training row')}, less than one "
            f"train.global_batch of "
            f"{config.train.global_batch}; use more text or a smaller global batch"
        )
    return found


def _other_run_faults(plan: RunPlan) -> list[str]:
    """Find out whether the output folder holds another run or the files of another program."""
    run = plan.config.output
    came_from = plan.resume_from and plan.resume_from.resolve().parent
    if came_from != run.resolve():
        if (run / IDENTITY).is_file():
            refuse_other_run(run, plan)
        elif (run / CONFIG).is_file() and not _is_config_of_a_run(run / CONFIG, plan):
            return [f"{run / CONFIG} belongs to another program; use another --output"]
    return []


def _is_config_of_a_run(file: Path, plan: RunPlan) -> bool:
    """Return whether a run wrote this config, as one that was killed before its identity was.

    There is no checkpoint in its folder, so nothing is lost by a start in it.
    """
    try:
        text = file.read_text("utf-8")
        saved = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return False
    is_written = isinstance(saved, dict) and text == dump_plain(saved)
    return is_written and saved.keys() >= to_plain(plan.config).keys()


def _disk_faults(plan: RunPlan) -> list[str]:
    """Find out whether the output folder can be written and holds the checkpoints."""
    run = plan.config.output
    existing = next(place for place in (run, *run.parents) if place.exists())
    try:
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file")
        probe = existing / ".gpt2zh-can-write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return [f"--output {run} cannot be written: {error}; choose another folder"]
    config, free = plan.config, shutil.disk_usage(existing).free
    needed = checkpoint_bytes(config.model, plan.vocabulary, config.optimizer.kind)
    # One more while the next is being written, and the best one.
    count = config.checkpoint.keep_last + 1 + config.checkpoint.keep_best
    needed *= count
    if free + _bytes_held(run) >= needed:
        return []
    return [
        f"--output {run} has {free / 2**30:.1f} GiB free but checkpoints need "
        f"{needed / 2**30:.1f} GiB ({count} of them: checkpoint.keep_last and one more"
        + (", and the best one" if config.checkpoint.keep_best else "")
        + "); make room or keep fewer"
    ]


def _bytes_held(run: Path) -> int:
    """Return the size of the checkpoints of a run; those that cannot be read count as nothing."""
    held = 0
    for _, folder in run_folder.list_checkpoints(run):
        with contextlib.suppress(OSError):
            held += sum(file.stat().st_size for file in folder.iterdir())
    return held
