"""Real checkpoint folders of a tiny model, written as the ranks of a run write them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from gpt2zh.checkpoint import checkpoint
from gpt2zh.checkpoint.checkpoint import RunFacts
from gpt2zh.checkpoint.snapshot import Snapshot
from gpt2zh.config.schema import ModelConfig
from gpt2zh.files import run_folder
from gpt2zh.model.build import new_model
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer
from gpt2zh.train.state import TrainState

RANKS = 2


def tiny_facts(vocabulary: Path) -> RunFacts:
    """A model of a few thousand numbers with a tokenizer, and a text that a run would add."""
    tokenizer = load_tokenizer(vocabulary)
    shape = ModelConfig(layers=1, heads=2, width=4, context=8)
    model = new_model(shape, tokenizer, seed=1)
    return RunFacts(model, tokenizer, {"identity.json": json.dumps({"seed": 1})})


def snapshots(facts: RunFacts, step: int) -> list[Snapshot]:
    """What each rank would write after a step; other steps have other numbers."""
    weights = {name: p.detach() + step for name, p in facts.model.named_parameters()}
    described = {
        "format": 2,
        "progress": asdict(TrainState(step=step, rows=8 * step)),
        "updates": step,
        "loss_scale": {},
        "ranks": RANKS,
        "zero_stage": 1,
    }
    taken = []
    for rank in range(RANKS):
        mine = [name for number, name in enumerate(weights) if number % RANKS == rank]
        moments = {
            f"{kind}.{name}": torch.full_like(weights[name], step / 7)
            for name in mine
            for kind in ("exp_avg", "exp_avg_sq")
        }
        taken.append(Snapshot(step, {} if rank else weights, moments, described))
    return taken


def write_checkpoint(run: Path, step: int, facts: RunFacts) -> Path:
    """Write a checkpoint of two ranks and return its folder."""
    temporary = run_folder.begin(run, step)
    entries = {}
    for rank, snapshot in enumerate(snapshots(facts, step)):
        entries |= checkpoint.write(
            snapshot, temporary, facts=facts, world=World(rank, RANKS), note=lambda what: None
        )
    final = run_folder.checkpoint_path(run, step)
    run_folder.commit(temporary, final, entries)
    return final
