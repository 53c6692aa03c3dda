"""`gpt2zh plan`: what a run will do and need, before any GPU is taken.

It prints what `--dry-run` of a launcher prints. For other cards or ranks, or without data, a table
shows what else would fit and how fast it would be.
"""

from __future__ import annotations

from pathlib import Path

from gpt2zh.acts.launch import find_device
from gpt2zh.acts.options import NO_OUTPUT, PlannedRun, PlanOptions
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.schema import LaunchOptions
from gpt2zh.cost.cards import KNOWN, Card, card_named
from gpt2zh.files import run_folder
from gpt2zh.plan.corpora import open_shards, read_folder
from gpt2zh.plan.describe import announce, describe_setup
from gpt2zh.plan.machine import find_card
from gpt2zh.plan.make import FindDevice, check_run, check_setup, continue_run
from gpt2zh.plan.predict import Cluster, describe_choices
from gpt2zh.plan.setup import Setup
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import say
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

COMMON = "RTX 3090"
"""The card of a plan where no known one is named or found."""


def run(config: PlannedRun, launch: LaunchOptions, options: PlanOptions) -> None:
    """Print the plan of a run, and the table where it is asked for.

    Raises:
        UserError: Something is wrong with the options, or the run could not start.
    """
    raise_all(_option_faults(config, launch, options), "the options of the plan")
    world = _plan_world(options)
    if options.ranks is None and options.gpu is None and config.data:
        _plan_run(config, launch, world, lambda: find_device(world), is_elsewhere=False)
        return
    named = _find_card(options)
    card = named or _common_card()
    if config.train.precision == "bf16" and not card.has_bf16:
        raise UserError(f"train.precision is bf16, but {card.name} has none; use fp16 or fp32")
    if named is None:
        say(world, f"card        {card.name}, assumed: there is no known GPU here; see --gpu")
    device = Device(card.name, card.memory, is_gpu=True)
    saved = None if _has_data(config) else _saved_tokenizer(config)
    if config.data and saved is None:
        elsewhere = options.ranks is not None
        setup = _plan_run(config, launch, world, lambda: device, is_elsewhere=elsewhere)
    else:
        tokens = options.vocabulary or (saved or load_tokenizer("builtin")).vocab_size
        if saved is not None and options.vocabulary is None:
            lacks = f"; {' '.join(config.data)} is not here" if config.data else ""
            say(world, f"vocabulary  that of the run, from {saved.name}{lacks}")
        setup = check_setup(config, tokens, world, lambda: device)
        say(world, describe_setup(setup))
    cluster = Cluster(card, world.size, options.ranks_per_machine, options.network)
    say(world, "\n" + "\n".join(describe_choices(setup, cluster)))


def _option_faults(config: PlannedRun, launch: LaunchOptions, options: PlanOptions) -> list[str]:
    at_least_one = {
        "ranks": options.ranks,
        "ranks-per-machine": options.ranks_per_machine,
        "vocabulary": options.vocabulary,
    }
    found = [
        f"--{name} is {value}; it must be 1 or more"
        for name, value in at_least_one.items()
        if value is not None and value < 1
    ]
    if not options.network > 0:
        found.append(f"--network is {options.network}; it must be above 0 Gbit/s")
    if launch.resume is not None and config.output == NO_OUTPUT:
        found.append("--resume needs --output, the folder of the run; add it")
    if config.data and options.vocabulary is not None:
        found.append(
            "--vocabulary is only for a plan without --data, whose tokenizer has one; leave one out"
        )
    return found


def _has_data(config: PlannedRun) -> bool:
    """Return whether a folder of shards is here: a plan may be made where none is."""
    return any(Path(text).exists() or read_folder(text).path.exists() for text in config.data)


def _saved_tokenizer(config: PlannedRun) -> TextTokenizer | None:
    """Return the tokenizer in the newest checkpoint of the run; None if there is none."""
    folders = [folder for _, folder in run_folder.list_checkpoints(config.output)]
    kept = [folder for folder in folders if (folder / "tokenizer.json").is_file()]
    return load_tokenizer(kept[-1]) if kept else None


def _plan_world(options: PlanOptions) -> World:
    """Return rank 0 of the ranks that are asked about, or this process's place."""
    if options.ranks is None:
        return World.detect()
    return World(0, options.ranks, 0, min(options.ranks, options.ranks_per_machine))


def _plan_run(
    config: PlannedRun,
    launch: LaunchOptions,
    world: World,
    device: FindDevice,
    *,
    is_elsewhere: bool,
) -> Setup:
    """Check a run as its launcher would, but without DeepSpeed's own checks, and print its plan."""
    plan = check_run(
        config, launch, world, lambda faults: open_shards(config, world, faults), device
    )
    if config.output != NO_OUTPUT:
        plan = continue_run(plan, is_elsewhere=is_elsewhere)
    announce(plan)
    return plan.setup


def _find_card(options: PlanOptions) -> Card | None:
    """Return the card that is named, or that of this machine."""
    if options.gpu is None:
        return find_card()
    if (card := card_named(options.gpu)) is None:
        raise UserError(f"--gpu {options.gpu} is not a known card; use one of {', '.join(KNOWN)}")
    return card


def _common_card() -> Card:
    card = card_named(COMMON)
    assert card is not None
    return card
