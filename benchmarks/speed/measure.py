"""One arm in one process: trained, timed, and asked what it has learnt."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from gpt2zh.data.loader import validation_batches
from gpt2zh.data.shard import TRAIN, VALIDATION, ShardSet
from gpt2zh.model.loss import IGNORED
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer
from speed.arms import recipe_of
from speed.card import device_name, matrix_product
from speed.clock import StepClock
from speed.job import Job

_LOOPS = {"trainer": "speed.trainer", "bare": "speed.bare", "gpt2zh": "speed.ours"}
_ROWS_AT_ONCE = 4  # their fp32 logits


def measure(job: Job, name: str, out: Path) -> None:
    """Train an arm from the initial weights and write its figures; for `device`, measure that."""
    if name == "device":
        figures = {
            "device": device_name(on_gpu=job.on_gpu),
            "matrix_product": matrix_product(on_gpu=job.on_gpu),
        }
    else:
        figures = _trained(job, name)
    out.write_text(json.dumps(figures) + "\n", "utf-8")


def _trained(job: Job, name: str) -> dict[str, Any]:
    recipe = job.applied(name, recipe_of(name))
    assert recipe.micro_batch != "best", name
    device = torch.device("cuda" if job.on_gpu else "cpu")
    clock = StepClock(warmup=job.warmup, steps=job.steps)
    model, losses = importlib.import_module(_LOOPS[recipe.loop]).train(job, recipe, clock, device)
    figures = clock.figures() | {"micro_batch": recipe.micro_batch, "losses": losses}
    figures["held_out"] = held_out_loss(job, model)
    return figures


@torch.no_grad()
def held_out_loss(job: Job, model: GPT2LMHeadModel) -> float:
    """Nats per token on rows that no arm has trained on, in fp32 and without dropout.

    One way for all arms, whatever they train with: transformers' own attention and logits.
    """
    torch.set_float32_matmul_precision("highest")
    model.float().eval().set_attn_implementation("sdpa")
    rows = ShardSet.open(Path(job.shards), VALIDATION, row_length=job.context)
    if not rows.rows:  # of a corpus from which nothing is held out
        rows = ShardSet.open(Path(job.shards), TRAIN, row_length=job.context)
    pad_id = load_tokenizer(f"{job.shards}/tokenizer").pad_id
    nats, targets = 0.0, 0
    for batch in validation_batches(
        rows, limit=job.held_out_rows, micro_batch=_ROWS_AT_ONCE, pad_id=pad_id, world=World()
    ):
        batch = batch.to(model.device)
        logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, :-1]
        nats += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            batch.labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        ).item()
        targets += batch.targets
    return nats / targets
