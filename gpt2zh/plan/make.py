"""From a config to a plan, checked before any GPU is taken. No torch.

Whatever can be wrong with config, JSON, shards, tokenizer, folder or disk is found here, and all
faults are told at once.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence

from gpt2zh.config import deepspeed
from gpt2zh.config.checks import config_faults
from gpt2zh.config.errors import attempt, raise_all
from gpt2zh.config.profiles import profile
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.cost.memory import checkpoint_bytes
from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.data.mixture import Mixture
from gpt2zh.data.rows import Rows
from gpt2zh.files import run_folder
from gpt2zh.model import shape
from gpt2zh.plan.corpora import Corpus, open_corpora
from gpt2zh.plan.fit import choose, provisional
from gpt2zh.plan.resume import refuse_other_run, resume_from, unknown_changes
from gpt2zh.plan.run_plan import CONFIG, IDENTITY, Plan
from gpt2zh.plan.skipped_rows import read_rows
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.logs import warn
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


def make_plan(
    config: PretrainConfig,
    options: LaunchOptions,
    world: World,
    device: Callable[[], Device] | None = None,
) -> Plan:
    """Check everything and return what will be done.

    Files are only read; rank 0 alone reads all bytes of shards and checkpoint.

    Args:
        config: What the user wants.
        options: How this start differs.
        world: This rank's place.
        device: Tells what it computes on. Only asked where the config leaves a choice, once config,
            JSON and data are found to be right: the answer may cost time and a bit of a GPU.

    Raises:
        UserError: All that is wrong, in one message.
    """
    faults = config_faults(config)
    path, train = config.deepspeed_config, provisional(config.train)
    raw = attempt(lambda: deepspeed.read(path) if path else None, faults)
    if min(train.global_batch, train.rows_at_once) >= 1:  # else there is nothing to divide by
        some = profile(1) if raw is None else raw
        attempt(lambda: deepspeed.resolve(some, train, config.optimizer, world.size), faults)
    corpora, wrong = open_corpora(config, world) if config.model.context > 1 else ([], [])
    faults += wrong
    tokenizer = None
    if corpora:
        where = corpora[0].choice.folder / TOKENIZER_DIR
        tokenizer = attempt(lambda: load_tokenizer(str(where)), faults)
        faults += _data_faults(config, corpora, tokenizer)
    rows = sum(corpus.train.rows for corpus in corpora)
    skipped = attempt(lambda: read_rows(config.skip_rows, rows=rows), faults) if rows else None
    faults += unknown_changes(options.allow_change)
    raise_all(faults, "this run cannot start")
    assert tokenizer is not None and skipped is not None
    vocabulary = shape.padded_vocabulary(tokenizer.vocab_size)
    choice = choose(config, raw, vocabulary=vocabulary, ranks=world.size, device=device)
    if choice.warning is not None:
        warn(world, choice.warning)
    config = choice.config
    plan = Plan(
        config,
        options,
        world,
        choice.raw,
        deepspeed.resolve(choice.raw, config.train, config.optimizer, world.size),
        tuple(corpora),
        tokenizer,
        Rows([b for c in corpora for b in c.train.blocks], row_length=config.model.context),
        Mixture(
            [corpus.train.rows for corpus in corpora],
            shares=[corpus.share for corpus in corpora],
            seed=config.seed,
        ),
        skipped=skipped,
        resume_from=None,
    )
    checkpoint = attempt(lambda: resume_from(plan), faults)
    plan = dataclasses.replace(plan, resume_from=checkpoint)
    if checkpoint is not None and world.is_main:
        progress = run_folder.read_state(checkpoint)["progress"]
        plan = dataclasses.replace(plan, done=(progress["step"], progress["rows"]))
    if world.is_main and not faults:
        faults += attempt(lambda: _output_faults(plan), faults) or []
    raise_all(faults, "the output folder")
    return plan


def _data_faults(
    config: PretrainConfig, corpora: Sequence[Corpus], tokenizer: TextTokenizer | None
) -> list[str]:
    found = []
    first = corpora[0]
    if tokenizer is not None and tokenizer.hash != first.manifest.tokenizer.hash:
        found.append(
            f"{first.choice.folder / TOKENIZER_DIR} is not the tokenizer that made these shards "
            f"({tokenizer.hash[:12]} there, {first.manifest.tokenizer.hash[:12]} in the manifest); "
            "restore it or prepare the data again"
        )
    if tokenizer is not None and config.validation.sample_tokens:
        context = config.model.context
        found += [
            f"validation.prompts: '{prompt}' is {length} tokens long, but the model's context is "
            f"{context} with the token that starts a document; use shorter prompts"
            for prompt in config.validation.prompts
            if (length := len(tokenizer.encode(prompt))) > context - 2
        ]
    rows = sum(corpus.train.rows for corpus in corpora)
    if rows < config.train.global_batch:
        found.append(
            f"{' '.join(config.data)}: {rows} training rows, less than one train.global_batch of "
            f"{config.train.global_batch}; use more text or a smaller global batch"
        )
    return found


def _output_faults(plan: Plan) -> list[str]:
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


def _disk_fault(plan: Plan, free: int) -> str | None:
    run, config = plan.config.output, plan.config
    needed = checkpoint_bytes(config.model, plan.vocabulary, config.optimizer.kind)
    needed *= config.checkpoint.keep_last + 1  # one more while the next is being written
    held = sum(f.stat().st_size for _, c in run_folder.checkpoints(run) for f in c.iterdir())
    if free + held >= needed:
        return None
    return (
        f"--output {run} has {free / 2**30:.1f} GiB free but checkpoints need "
        f"{needed / 2**30:.1f} GiB (checkpoint.keep_last + 1 of them); free some or keep fewer"
    )
