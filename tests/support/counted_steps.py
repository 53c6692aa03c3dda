"""Optimizer steps on real ranks, forks of this process, that count what they send each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from forked_ranks import run
from settings import setting

from gpt2zh.checkpoint import master_weights
from gpt2zh.config.schema import ModelConfig, OptimizerConfig
from gpt2zh.cost.setting import Setting
from gpt2zh.data.batch import batch_of
from gpt2zh.data.tensors import as_tensors
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer
from gpt2zh.train import engine as engines
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.step import train_step

SHAPE = ModelConfig(layers=2, heads=2, width=30, context=17)  # 2 ranks leave a rest, and 4
STEPS = 3
"""ZeRO 3 watches two micro-batches before it knows the order of the modules."""
FLAGS = 8
"""Collectives of up to so many elements tell flags and norms."""

Sent = tuple[str, int, int]
"""Kind of a collective, elements of the whole tensor, bytes of an element."""


@dataclass(frozen=True)
class Case:
    """How a step is made."""

    stage: int
    precision: str
    accumulation: int
    zero: dict[str, Any] = field(default_factory=dict)
    recompute: bool = False
    kind: str = "adamw"
    sums: str = "auto"

    def setting(self, ranks: int) -> Setting:
        """As a run resolves it."""
        return setting(
            {"stage": self.stage, **self.zero},
            self.precision,
            ranks=ranks,
            accumulation=self.accumulation,
            sums=self.sums,
            optimizer=self.kind,
            recompute=self.recompute,
        )


def counted(cases: list[Case], ranks: int, vocabulary: Path, folder: Path) -> list[list[Sent]]:
    """What each rank passes to collectives in a step of each case, flags and norms left out."""
    run(ranks, folder, lambda world: _count(cases, world, vocabulary, folder))
    found = [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(ranks)]
    assert all(theirs == found[0] for theirs in found)
    return [[(kind, elements, width) for kind, elements, width in case] for case in found[0]]


def _count(cases: list[Case], world: World, vocabulary: Path, folder: Path) -> None:
    sent: list[Sent] = []
    _listen(sent)
    device = engines.start_processes(world)
    tokenizer = load_tokenizer(vocabulary)
    found = []
    for case in cases:
        model = new_model(SHAPE, tokenizer, seed=1)
        if case.recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = build_optimizer(model, OptimizerConfig(kind=case.kind))
        resolved = dict(case.setting(world.size).resolved)
        engine = engines.build_engine(SummedLoss(model), optimizer, resolved)
        master_weights.materialize_moments(engine)
        rows = np.random.default_rng(world.rank).integers(5, 50, (1, SHAPE.context))
        batch = as_tensors(batch_of(rows, pad_id=0, numbers=np.arange(1)), device)
        for _ in range(STEPS):
            sent.clear()
            result = train_step(
                engine,
                [batch] * case.accumulation,
                1e-3,
                seed=1,
                watch=Watch(world, folder=folder, hang_after=0),
            )
            assert result is not None and result.applied, asdict(case)
        found.append([one for one in sent if one[1] > FLAGS])
        engine.destroy()
    (folder / f"{world.rank}.json").write_text(json.dumps(found), "utf-8")
    engines.close()


def _listen(sent: list[Sent]) -> None:
    """Note every collective; the name of its whole tensor differs from one to the next."""
    for kind, whole, names in (
        ("all-reduce", "tensor", ["all_reduce"]),
        ("reduce", "tensor", ["reduce"]),
        ("broadcast", "tensor", ["broadcast"]),
        ("all-gather", "output_tensor", ["all_gather_into_tensor"]),
        ("reduce-scatter", "input_tensor", ["reduce_scatter_tensor"]),
        ("a list", "tensor", ["all_gather"]),
        ("a list", "output", ["reduce_scatter"]),
        ("exchange", "input", ["all_to_all_single"]),
    ):
        for name in names:
            setattr(dist, name, _noting(getattr(dist, name), kind, whole, sent))


def _noting(act: Callable, kind: str, whole: str, sent: list[Sent]) -> Callable:
    position = {"output_tensor": 0, "input_tensor": 1, "tensor": 0, "output": 0, "input": 1}[whole]

    def noting(*arguments: Any, **named: Any) -> Any:
        tensor: torch.Tensor = named[whole] if whole in named else arguments[position]
        if kind == "a list" and isinstance(tensor, list):
            tensor = arguments[1]
        sent.append((kind, tensor.numel(), tensor.element_size()))
        return act(*arguments, **named)

    return noting
