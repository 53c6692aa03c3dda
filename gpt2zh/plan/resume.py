"""Continuing a run: which checkpoint to start from, and what must not have changed. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gpt2zh.config import deepspeed, retired
from gpt2zh.config.cli import flatten, to_plain
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.paths import IDENTITY
from gpt2zh.files import run_folder
from gpt2zh.pages.console import command
from gpt2zh.plan.requeued import RESUMED, find_continuation
from gpt2zh.plan.run_plan import CONFIG, RAW_DEEPSPEED, RunPlan
from gpt2zh.ranks.logs import warn

CHANGEABLE = (
    *("data", "tokenizer", "seed", "global_batch"),
    *("model.dropout", "model.activation"),
)
"""What `--allow-change` accepts. With any other change the saved weights or moments do not fit."""
DEFAULTS = {"act": "pretrain", "optimizer.kind": "adamw"}
"""Values of entries that the identities of older versions do not have."""
RETIRED = {name.rpartition(".")[2]: value for name, value in retired.RETIRED.items()}
"""Entries that only identities of older versions have, with the value that every run has now."""


def find_checkpoint(plan: RunPlan) -> Path | None:
    """Return the checkpoint to continue from, checked byte by byte; rank 0 finds it for all."""
    run, named = plan.config.output, plan.options.resume
    if named is not None:
        chosen: Path | None = named
        if plan.world.is_main:
            if (continued := find_continuation(plan)) is not None:
                chosen = continued
                warn(
                    plan.world,
                    f"this command has gone back to {named} before, so the run continues from "
                    f"{continued}; delete {run / RESUMED} to go back once more",
                )
            else:
                run_folder.require_complete(named)
    elif plan.world.is_main:
        chosen, rejected = run_folder.newest_complete(run)
        for fault in rejected:
            warn(plan.world, f"{fault}; the run continues from an older checkpoint")
    else:
        chosen = None  # rank 0 sends it later
    if chosen is not None and plan.world.is_main:
        refuse_other_run(chosen, plan)
        _refuse_other_vocabulary(chosen, plan)
        for name in sorted(run_folder.find_unlisted(chosen)):
            warn(
                plan.world,
                f"{chosen / name} is not listed in {run_folder.MANIFEST} and is not read; it is of "
                "another checkpoint",
            )
    return chosen


def _refuse_other_vocabulary(chosen: Path, plan: RunPlan) -> None:
    """Refuse a tokenizer that was allowed to change but does not fit the embedding."""
    there = json.loads((chosen / "config.json").read_text("utf-8"))["vocab_size"]
    if there != plan.vocabulary:
        raise UserError(
            f"{chosen} has an embedding for {there:,} tokens, the tokenizer of the data needs one "
            f"for {plan.vocabulary:,}; prepare the data with "
            f"{command('--tokenizer', chosen)}"
        )


def check_allowed_changes(names: Sequence[str]) -> list[str]:
    """Return what is wrong with the names given to `--allow-change`, one sentence each."""
    return [
        f"--allow-change {name} is not possible, because weights or moments would not fit; "
        f"use one of {', '.join(CHANGEABLE)}"
        for name in names
        if name not in CHANGEABLE
    ]


def read_identity(where: Path) -> dict[str, Any]:
    """Read the identity of a run folder or checkpoint, in the form of this version.

    Entries that older versions lack get their defaults. Retired entries are left out, unless their
    value is not the one that every run has now.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not valid JSON.
        TypeError: It is not a JSON object.
    """
    saved: dict[str, Any] = DEFAULTS | json.loads((where / IDENTITY).read_text("utf-8"))
    return {name: value for name, value in saved.items() if RETIRED.get(name) != value}


def _compared(name: str, saved: Any, now: Any, where: Path, plan: RunPlan) -> str:
    """Return both values of an entry; tokenizers, whose entry is a hash, with the name of ours."""
    if name == "tokenizer":
        ours = plan.data.tokenizer.name
        return f"{where} has another one ({str(saved)[:12]}) than {ours} ({str(now)[:12]}) now"
    return f"{saved!r} in {where}, {now!r} now"


def refuse_other_run(where: Path, plan: RunPlan) -> None:
    """Refuse to continue from a run folder or checkpoint of another run."""
    allowed = plan.options.allow_change
    try:
        saved = read_identity(where)
        differences = [
            f"{name}: {_compared(name, saved.get(name), value, where, plan)}"
            + (
                f"; --allow-change {name} continues anyway; or use another --output for another run"
                if name in CHANGEABLE
                else "; a run cannot change this, so use another --output for another run"
            )
            for name, value in plan.identity.items()
            if saved.get(name) != value and name not in allowed
        ]
        differences += [
            f"{name}: {saved[name]!r} in {where}, a setting that this version no longer has; "
            "continue with the version that started the run, or use another --output"
            for name in RETIRED
            if name in saved
        ]
    except (ValueError, TypeError):
        differences = [f"{where / IDENTITY} cannot be read; restore it, or use another --output"]
    raise_all(differences, f"{plan.config.output} holds another run")


def find_changed_settings(plan: RunPlan) -> list[str]:
    """Return which settings differ from those of the checkpoint, as `name before -> now`.

    They may be changed on purpose, such as learning rate, steps, micro-batch, precision or ZeRO.
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
    """Return the same for the content of the DeepSpeed JSON, wherever its file lies."""
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
    """Return the flat entries of a DeepSpeed JSON that are neither null nor auto."""
    return {name: value for name, value in flatten(raw) if value not in (None, deepspeed.AUTO)}
