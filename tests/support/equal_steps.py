"""Steps of a tiny model by the engine at every ZeRO stage, and the same by a bare torch loop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from forked_ranks import run
from torch.utils._python_dispatch import TorchDispatchMode

from gpt2zh.checkpoint import master_weights
from gpt2zh.config import profiles
from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.schema import ModelConfig, OptimizerConfig, TrainConfig
from gpt2zh.data.batch import Batch, batch_of
from gpt2zh.data.tensors import as_tensors
from gpt2zh.model import build
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import build_engine, close, start_processes
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.step import train_step

SHAPE = ModelConfig(layers=2, heads=2, width=32, context=16)
ROWS, MICRO_BATCH = (8, 4, 12, 12), 2
"""Rows of each step: they may differ."""
CASES = {str(stage): profiles.profile(stage) for stage in range(4)}
CASES |= {f"{stage}-offload": profiles.profile(stage, offload=True) for stage in (2, 3)}
OPTIMIZER = OptimizerConfig(
    lr=0.01, max_grad_norm=0.5
)  # the first norms are about 1: some steps are clipped
WAITS = ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal")


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = operation.name().removeprefix("aten::").split(".")[0]
        if name in WAITS:
            self.found[name] += 1
        return operation(*args, **(kwargs or {}))


class CountingWatch(Watch):
    """Notes how often the host would have waited when the micro-batches are done."""

    waits: Waits
    before_update = -1

    def mark(self, phase: str) -> None:
        super().mark(phase)
        if phase == "updating the weights":
            self.before_update = self.waits.found.total()


def rows_of(step: int) -> np.ndarray:
    return (
        np.random.default_rng(step).integers(2, 250, (ROWS[step], SHAPE.context)).astype(np.uint16)
    )


def batches(rows: np.ndarray) -> list[Batch[torch.Tensor]]:
    """Micro-batches; one row is half padding, so that the numbers of targets differ."""
    rows = rows.copy()
    rows[0, 6:] = 1
    numbers = np.arange(MICRO_BATCH)
    return [
        as_tensors(
            batch_of(rows[i : i + MICRO_BATCH], pad_id=1, numbers=numbers), torch.device("cpu")
        )
        for i in range(0, len(rows), MICRO_BATCH)
    ]


def new_model() -> Any:
    tokens: Any = SimpleNamespace(vocab_size=256, bos_id=0, eos_id=0, pad_id=1)
    return build.new_model(SHAPE, tokens, seed=3)


def bare(precision: str) -> dict[str, Any]:
    """The same in plain torch: fp32 weights, of which the model computes with roundings."""
    exact = new_model()
    model = new_model().to(getattr(torch, {"fp32": "float32", "bf16": "bfloat16"}[precision]))
    forward, adamw = SummedLoss(model), build_optimizer(exact, OPTIMIZER)
    told: dict[str, Any] = {"losses": [], "norms": []}
    for step in range(len(ROWS)):
        every = batches(rows_of(step))
        targets = sum(batch.targets for batch in every)
        for p, master in zip(model.parameters(), exact.parameters(), strict=True):
            p.data.copy_(master.data)
            master.grad = torch.zeros_like(master)
        nats = 0.0
        for batch in every:
            loss = forward(batch.input_ids, batch.labels)
            nats += loss.item()
            gradients = torch.autograd.grad(loss / targets, list(model.parameters()))
            for master, gradient in zip(exact.parameters(), gradients, strict=True):
                master.grad += gradient.float()
        norm = torch.nn.utils.clip_grad_norm_(exact.parameters(), OPTIMIZER.max_grad_norm)
        for group in adamw.param_groups:
            group["lr"] = OPTIMIZER.lr
        adamw.step()
        told["losses"].append(nats / targets)
        told["norms"].append(norm.item())
    told["weights"] = {name: p.detach().clone() for name, p in exact.named_parameters()}
    return told


def new_engine(
    raw: dict[str, Any],
    precision: str,
    world: World,
    optimizer: OptimizerConfig = OPTIMIZER,
) -> Any:
    """An engine around the same model, before its first step."""
    train = TrainConfig(global_batch=ROWS[-1], micro_batch=MICRO_BATCH, precision=precision)
    resolved = resolve(raw, train, optimizer, world.size)
    model = new_model()
    engine = build_engine(SummedLoss(model), build_optimizer(model, optimizer), resolved)
    master_weights.materialize_moments(engine)
    return engine


def ours(
    raw: dict[str, Any], precision: str, world: World, wanted: dict[str, Any]
) -> dict[str, Any]:
    """The engine by a DeepSpeed JSON, on this rank's share of the same rows."""
    engine = new_engine(raw, precision, world)
    told: dict[str, Any] = {"losses": [], "norms": [], "waits": [], "micro_waits": []}
    for step in range(len(ROWS)):
        mine = batches(rows_of(step))[world.rank :: world.size]
        watch = CountingWatch(world, folder=Path(), hang_after=0)
        with Waits() as waits:
            watch.waits = waits
            result = train_step(engine, mine, OPTIMIZER.lr, seed=1, watch=watch)
        assert result is not None and result.applied and result.gradient_norm is not None
        told["losses"].append(result.loss())
        told["norms"].append(float(result.gradient_norm))
        told["micro_waits"].append(watch.before_update)
        told["waits"].append(waits.found.total())
    pieces: dict[str, torch.Tensor] = {
        name: torch.zeros_like(weight).flatten() for name, weight in wanted["weights"].items()
    }

    def keep(key: str, shape: torch.Size, first: int, piece: torch.Tensor) -> None:
        kind, name = key.split(".", 1)
        if kind == "weight":
            pieces[name][first : first + len(piece)] = piece

    master_weights.collect(engine, master_weights.find_layout(engine, ControlGroup()), world, keep)
    told["apart"] = max(
        (pieces[name] - weight.flatten()).abs().max().item()
        for name, weight in wanted["weights"].items()
    )
    return told


def compared(ranks: int, precisions: Sequence[str], folder: Path) -> dict[str, Any]:
    """Losses and norms by precision and case (`bf16-2-offload`, `bf16-bare`); of the engine's steps

    `apart`, the largest difference of a weight to that of the bare loop; `micro_waits` and `waits`,
    how often each step asked the device for a number before the update, and with it.
    """
    run(ranks, folder, lambda world: _compare(precisions, world, folder))
    return json.loads((folder / "found.json").read_text("utf-8"))


def _compare(precisions: Sequence[str], world: World, folder: Path) -> None:
    start_processes(world)
    found = {}
    for precision in precisions:
        wanted = bare(precision)
        for case, raw in CASES.items():
            found[f"{precision}-{case}"] = ours(raw, precision, world, wanted)
        found[f"{precision}-bare"] = {k: v for k, v in wanted.items() if k != "weights"}
    if world.is_main:
        (folder / "found.json").write_text(json.dumps(found), "utf-8")
    close()
