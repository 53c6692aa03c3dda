"""Continuing a run: the checkpoint to go on from, and what must be as it was. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gpt2zh.config import deepspeed
from gpt2zh.config.cli import flatten, to_plain
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.files import run_folder
from gpt2zh.plan.run_plan import CONFIG, IDENTITY, RAW_DEEPSPEED, RunPlan
from gpt2zh.ranks.logs import warn

CHANGEABLE = (
    *("data", "tokenizer", "seed", "global_batch"),
    *("model.dropout", "model.activation"),
)
"""What `--allow-change` takes: what else an identity holds decides the weights and moments kept."""
UNTOLD = {"act": "pretrain", "optimizer.kind": "adamw"}
"""What identities of older versions do not tell."""
RETIRED = {"batch_ramp": "none"}
"""What only identities of older versions hold, with the value that all runs have now."""


def resume_from(plan: RunPlan) -> Path | None:
    """The checkpoint to continue from, checked byte by byte; rank 0 finds it for all."""
    run, named = plan.config.output, plan.options.resume
    if named is not None:
        if plan.world.is_main:
            run_folder.require_complete(named)
        chosen: Path | None = named
    elif plan.world.is_main:
        chosen, rejected = run_folder.newest_complete(run)
        for fault in rejected:
            warn(plan.world, f"{fault}; an older checkpoint is used")
    else:
        chosen = None  # rank 0 tells
    if chosen is not None and plan.world.is_main:
        refuse_other_run(chosen, plan)
        _refuse_other_vocabulary(chosen, plan)
    return chosen


def _refuse_other_vocabulary(chosen: Path, plan: RunPlan) -> None:
    """Refuse a tokenizer that was allowed to change but does not fit the embedding."""
    there = json.loads((chosen / "config.json").read_text("utf-8"))["vocab_size"]
    if there != plan.vocabulary:
        raise UserError(
            f"{chosen} has an embedding for {there:,} tokens, the tokenizer of the data needs one "
            f"for {plan.vocabulary:,}; prepare the data with --tokenizer {chosen}"
        )


def unknown_changes(names: Sequence[str]) -> list[str]:
    """What is wrong with the names given to `--allow-change`, one sentence each."""
    return [
        f"--allow-change {name}: it is none of {', '.join(CHANGEABLE)}; the rest cannot change, "
        "for weights or moments would not fit"
        for name in names
        if name not in CHANGEABLE
    ]


def saved_identity(where: Path) -> dict[str, Any]:
    """What a run folder or checkpoint is of, with what older versions did not tell.

    What this version no longer has is left out, unless it is another value than all runs have now.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON.
        TypeError: It is no JSON object.
    """
    saved: dict[str, Any] = UNTOLD | json.loads((where / IDENTITY).read_text("utf-8"))
    return {name: value for name, value in saved.items() if RETIRED.get(name) != value}


def refuse_other_run(where: Path, plan: RunPlan) -> None:
    """Refuse to go on with what another run left in a run folder or checkpoint."""
    allowed = plan.options.allow_change
    try:
        saved = saved_identity(where)
        differences = [
            f"{name}: {saved.get(name)!r} in {where}, {value!r} now"
            + (f" (--allow-change {name} goes on with it)" if name in CHANGEABLE else "")
            for name, value in plan.identity.items()
            if saved.get(name) != value and name not in allowed
        ]
        differences += [
            f"{name}: {saved[name]!r} in {where}, a setting that this version no longer has"
            for name in RETIRED
            if name in saved
        ]
    except (ValueError, TypeError):
        differences = [f"{where / IDENTITY} cannot be read"]
    raise_all(
        [
            f"{difference}; a run continues with what it began with, "
            "use another --output for another run"
            for difference in differences
        ],
        f"{plan.config.output} holds another run",
    )


def changed_settings(plan: RunPlan) -> list[str]:
    """What else differs from the checkpoint to continue from, for a reader.

    These may be changed on purpose: learning rate, steps, micro-batch, precision or ZeRO, say.
    """
    if plan.resume_from is None:
        return []
    return [*_changed_config(plan, plan.resume_from), *_changed_json(plan, plan.resume_from)]


def _changed_config(plan: RunPlan, checkpoint: Path) -> list[str]:
    try:
        saved = dict(flatten(yaml.safe_load((checkpoint / CONFIG).read_text("utf-8"))))
    except (OSError, ValueError, yaml.YAMLError, AttributeError):
        return []
    now = dict(flatten(to_plain(plan.config)))
    elsewhere = ("output", "deepspeed_config", "verify_data", *plan.identity)
    return [
        f"{name} {saved[name]} -> {value}"
        for name, value in now.items()
        if name in saved and saved[name] != value and name not in elsewhere
    ]


def _changed_json(plan: RunPlan, checkpoint: Path) -> list[str]:
    """The same of the DeepSpeed JSON itself, wherever it lies and if nobody named one."""
    try:
        before = _given(deepspeed.read(checkpoint / RAW_DEEPSPEED))
    except UserError:
        return []
    now = _given(plan.raw)
    return [
        f"{name} {before.get(name, 'not given')} -> {now.get(name, 'not given')}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _given(raw: dict[str, Any]) -> dict[str, Any]:
    """What a DeepSpeed JSON says, without what it leaves to others."""
    return {name: value for name, value in flatten(raw) if value not in (None, deepspeed.AUTO)}
