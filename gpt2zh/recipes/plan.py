"""What a pretraining run will do, worked out and checked before any GPU is taken. No torch.

Whatever can be wrong with config, JSON, shards, tokenizer, folder or disk is found here, and all
faults are told at once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gpt2zh.config import deepspeed
from gpt2zh.config.checks import config_faults
from gpt2zh.config.cli import dump, flatten, to_plain
from gpt2zh.config.errors import UserError, attempt, raise_all
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.data.mixture import CYCLE, Mixture
from gpt2zh.data.rows import Rows
from gpt2zh.dist.logs import warn
from gpt2zh.dist.world import World
from gpt2zh.model import cost
from gpt2zh.recipes.corpora import Corpus, open_corpora
from gpt2zh.recipes.skipping import read_rows
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer
from gpt2zh.train import folder
from gpt2zh.train.schedule import learning_rate

CONFIG = "config.yaml"
DEEPSPEED = "deepspeed.json"
RAW_DEEPSPEED = "deepspeed_config.json"
IDENTITY = "identity.json"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Plan:
    """A checked run: config and data, and the numbers that follow from them."""

    config: PretrainConfig
    options: LaunchOptions
    world: World
    raw: dict[str, Any]
    """The DeepSpeed JSON as the user wrote it."""
    resolved: dict[str, Any]
    """The dict for DeepSpeed."""
    corpora: tuple[Corpus, ...]
    tokenizer: TextTokenizer
    rows: Rows
    """The training rows of all corpora, one after the other."""
    order: Mixture
    """The walk through them."""
    skipped: np.ndarray
    """Sorted row numbers that nothing is learnt from."""
    resume_from: Path | None
    """Checkpoint to continue from; known to rank 0 alone, which tells the others."""
    done: tuple[int, int] = (0, 0)
    """Steps and rows in it; the same."""

    @property
    def stacks(self) -> Path:
        """Where ranks that hang leave their Python stacks."""
        return self.config.output / ".stacks"

    @property
    def training_rows(self) -> int:
        """Rows of all corpora."""
        return self.rows.rows

    @property
    def held_out(self) -> tuple[Corpus, ...]:
        """The corpora with text for validation."""
        return tuple(corpus for corpus in self.corpora if corpus.held_out is not None)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step over all ranks."""
        return self.config.train.global_batch * self.config.model.context

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        train = self.config.train
        if train.steps is not None:
            return train.steps
        steps, rows = self.done
        all_rows = train.epochs * self.training_rows
        if rows == steps * train.global_batch:
            return max(1, math.ceil(all_rows / train.global_batch))
        # Done with another global batch. Not for all: the last bit may decide over a step.
        return steps + max(0, math.ceil((all_rows - rows) / train.global_batch))

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's ZeRO stage."""
        return deepspeed.zero_stage(self.resolved)

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding, padding included."""
        return cost.padded_vocabulary(self.tokenizer.vocab_size)

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return cost.parameters(self.config.model, self.vocabulary)

    @property
    def flops_per_token(self) -> float:
        """FLOPs of forward and backward at the full context."""
        return cost.flops_per_token(self.config.model, self.vocabulary)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint and a run that continues from it must have in common."""
        shares = (self.order.slots / CYCLE).tolist()
        data = [
            {"fingerprint": corpus.train.fingerprint, "share": share}
            for corpus, share in zip(self.corpora, shares, strict=True)
        ]
        return {
            "data": data if len(data) > 1 else data[0]["fingerprint"],
            "tokenizer": self.tokenizer.hash,
            "seed": self.config.seed,
            "global_batch": self.config.train.global_batch,
            **{f"model.{name}": value for name, value in asdict(self.config.model).items()},
        }

    @property
    def document_start_id(self) -> int:
        """The token that stands before every document in the rows."""
        packing = self.corpora[0].manifest.packing
        if packing == "zero_nlp" and self.tokenizer.cls_id is not None:
            return self.tokenizer.cls_id
        return self.tokenizer.eos_id

    def epochs(self, rows: int) -> dict[str, float]:
        """How often each corpus was read when so many rows are consumed, by name."""
        names = [corpus.name for corpus in self.corpora]
        return dict(zip(names, self.order.epochs(rows), strict=True))

    @property
    def epochs_at_end(self) -> dict[str, float]:
        """How often the whole run reads each corpus, by name."""
        return self.epochs(self.steps * self.config.train.global_batch)

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, the first is 1."""
        return learning_rate(step, steps=self.steps, config=self.config.optimizer)

    def length_at(self, step: int) -> int:
        """Tokens of a sequence in a step, the first is 1."""
        return self.config.train.curriculum.length_at(step, context=self.config.model.context)

    def flops_per_token_at(self, step: int) -> float:
        """FLOPs of forward and backward at the length of the sequences in a step."""
        shape = dataclasses.replace(self.config.model, context=self.length_at(step))
        return cost.flops_per_token(shape, self.vocabulary)

    def texts(self) -> dict[str, str]:
        """The small files that tell what a run is, for its folder and every checkpoint.

        The config names the copy of the user's DeepSpeed JSON in the run folder, so that it goes on
        reproducing the run when the original changes.
        """
        raw = self.config.output / RAW_DEEPSPEED
        return {
            CONFIG: dump(dataclasses.replace(self.config, deepspeed_config=raw)),
            RAW_DEEPSPEED: json.dumps(self.raw, indent=2) + "\n",
            DEEPSPEED: json.dumps(self.resolved, indent=2) + "\n",
            IDENTITY: json.dumps(self.identity, indent=2) + "\n",
        }


def make_plan(config: PretrainConfig, options: LaunchOptions, world: World) -> Plan:
    """Check everything and return what will be done.

    Files are only read; rank 0 alone reads all bytes of shards and checkpoint.

    Raises:
        UserError: All that is wrong, in one message.
    """
    faults = config_faults(config)
    raw = attempt(lambda: deepspeed.read(config.deepspeed_config), faults)
    resolved = None
    counts = (config.train.global_batch, config.train.micro_batch)
    if raw is not None and min(counts) >= 1:  # else there is nothing to divide by
        resolved = attempt(
            lambda: deepspeed.resolve(raw, config.train, config.optimizer, world.size), faults
        )
    corpora, wrong = open_corpora(config, world) if config.model.context > 1 else ([], [])
    faults += wrong
    tokenizer = None
    if corpora:
        where = corpora[0].choice.folder / TOKENIZER_DIR
        tokenizer = attempt(lambda: load_tokenizer(str(where)), faults)
        faults += _data_faults(config, corpora, tokenizer)
    rows = sum(corpus.train.rows for corpus in corpora)
    skipped = attempt(lambda: read_rows(config.skip_rows, rows=rows), faults) if rows else None
    faults += _unknown_changes(options.allow_change)
    raise_all(faults, "this run cannot start")
    assert raw is not None and resolved is not None and tokenizer is not None
    assert skipped is not None
    plan = Plan(
        config,
        options,
        world,
        raw,
        resolved,
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
    resume_from = attempt(lambda: _resume_from(plan), faults)
    plan = dataclasses.replace(plan, resume_from=resume_from)
    if resume_from is not None and world.is_main:
        progress = folder.read_state(resume_from)["progress"]
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


def _resume_from(plan: Plan) -> Path | None:
    """The checkpoint to continue from, checked byte by byte; rank 0 finds it for all."""
    run, named = plan.config.output, plan.options.resume
    if named is not None:
        if plan.world.is_main:
            folder.require_complete(named)
        chosen: Path | None = named
    elif plan.world.is_main:
        chosen, rejected = folder.newest_complete(run)
        for fault in rejected:
            warn(plan.world, f"{fault}; an older checkpoint is used")
    else:
        chosen = None  # rank 0 tells
    if chosen is not None and plan.world.is_main:
        _refuse_other_run(chosen, plan)
        _refuse_other_vocabulary(chosen, plan)
    return chosen


def _refuse_other_vocabulary(chosen: Path, plan: Plan) -> None:
    """Refuse a tokenizer that was allowed to change but does not fit the embedding."""
    there = json.loads((chosen / "config.json").read_text("utf-8"))["vocab_size"]
    if there != plan.vocabulary:
        raise UserError(
            f"{chosen} has an embedding for {there:,} tokens, the tokenizer of the data needs one "
            f"for {plan.vocabulary:,}; prepare the data with --tokenizer {chosen}"
        )


CHANGEABLE = ("data", "tokenizer", "seed", "global_batch", "model.dropout", "model.activation")
"""What `--allow-change` takes: what else an identity holds decides the shape of the weights."""


def _unknown_changes(names: Sequence[str]) -> list[str]:
    return [
        f"--allow-change {name}: it is none of {', '.join(CHANGEABLE)}; the rest of a model cannot "
        "change, for its weights would not fit"
        for name in names
        if name not in CHANGEABLE
    ]


def _refuse_other_run(where: Path, plan: Plan) -> None:
    """Refuse to go on with what another run left in a run folder or checkpoint."""
    allowed = plan.options.allow_change
    try:
        saved = json.loads((where / IDENTITY).read_text("utf-8"))
        differences = [
            f"{name}: {saved.get(name)!r} in {where}, {value!r} now"
            + (f" (--allow-change {name} goes on with it)" if name in CHANGEABLE else "")
            for name, value in plan.identity.items()
            if saved.get(name) != value and name not in allowed
        ]
    except (ValueError, AttributeError):
        differences = [f"{where / IDENTITY} cannot be read"]
    raise_all(
        [
            f"{difference}; a run continues with what it began with, "
            "use another --output for another run"
            for difference in differences
        ],
        f"{plan.config.output} holds another run",
    )


def changed_settings(plan: Plan) -> list[str]:
    """What else in the config differs from that of the checkpoint to continue from, for a reader.

    These may be changed on purpose: learning rate, steps, micro-batch, precision and the like.
    """
    if plan.resume_from is None:
        return []
    try:
        saved = dict(flatten(yaml.safe_load((plan.resume_from / CONFIG).read_text("utf-8"))))
    except (OSError, ValueError, yaml.YAMLError, AttributeError):
        return []
    now = dict(flatten(to_plain(plan.config)))
    elsewhere = ("output", "deepspeed_config", "verify_data", *plan.identity)
    return [
        f"{name} {saved[name]} -> {value}"
        for name, value in now.items()
        if name in saved and saved[name] != value and name not in elsewhere
    ]


def _output_faults(plan: Plan) -> list[str]:
    run = plan.config.output
    came_from = plan.resume_from and plan.resume_from.resolve().parent
    if came_from != run.resolve():
        if (run / IDENTITY).is_file():
            _refuse_other_run(run, plan)
        elif (run / CONFIG).is_file():
            return [f"{run / CONFIG} is of another program; use another --output"]
    existing = run
    while not existing.exists():
        existing = existing.parent
    try:
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file")
        probe = existing / ".gpt2zh-can-write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return [f"--output {run} cannot be written: {error}; choose a folder that can"]
    needed = cost.checkpoint_bytes(plan.config.model, plan.vocabulary)
    needed *= plan.config.checkpoint.keep_last + 1  # one more while the next is being written
    free = shutil.disk_usage(existing).free
    held = sum(f.stat().st_size for _, c in folder.checkpoints(run) for f in c.iterdir())
    if free + held < needed:
        return [
            f"--output {run} has {free / 2**30:.1f} GiB free but checkpoints need "
            f"{needed / 2**30:.1f} GiB (checkpoint.keep_last + 1 of them); free some or keep fewer"
        ]
    return []
