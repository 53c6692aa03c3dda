"""Take real steps of the real engine, and measure the memory that they take."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpt2zh.checkpoint import master_weights
from gpt2zh.checkpoint.checkpoint import load_weights
from gpt2zh.config.schema import OptimizerConfig
from gpt2zh.cost import activations
from gpt2zh.cost.memory import Memory, training_phases
from gpt2zh.model import shape
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import TextTokenizer
from gpt2zh.train import engine as engines
from gpt2zh.train.optimizer import build_optimizer
from tests.support.held.cases import Case
from tests.support.held.meters import CpuMeter, GpuMeter, Level, Meter

STEPS = 3
"""ZeRO 3 knows the order of the modules after two micro-batches, and the first steps of a compiled
model compile it."""


@dataclass(frozen=True)
class Found:
    """Bytes that a rank held in its last step."""

    vocabulary: int
    """Rows of the embedding."""
    at_rest: int
    """Between two steps, without the batch."""
    levels: dict[str, Level]
    """`forward` and `backward` of the last micro-batch, and `update`."""
    beside: dict[str, int] = field(default_factory=dict)
    """Only on a GPU: `context` of CUDA, and `reserved` by the allocator at most."""


def take(case: Case, tokenizer: TextTokenizer, world: World, device: torch.device) -> Found:
    """Build an engine, take some steps, and return what the last one held."""
    meter: Meter = GpuMeter() if device.type == "cuda" else CpuMeter()
    size = (case.micro_batch, case.model.context)
    ids = torch.randint(tokenizer.vocab_size, size, device=device)
    with meter.watching():
        engine = build(case, tokenizer, world)
        if case.compiled:
            engines.compile_model(engine)
        for _ in range(STEPS):
            _step(engine, ids, case.accumulation, meter)
    levels = meter.levels
    beside = _beside() if device.type == "cuda" else {}
    engine.destroy()
    del engine
    gc.collect()
    vocabulary = shape.padded_vocabulary(tokenizer.vocab_size)
    return Found(vocabulary, levels["update"].end - ids.nbytes, levels, beside)


def build(case: Case, tokenizer: TextTokenizer, world: World, weights: Path | None = None) -> Any:
    """Return the engine of a run with this setting, around the weights of a checkpoint if given."""
    model = new_model(case.model, tokenizer, seed=1)
    if weights is not None:
        load_weights(model, weights)
    if case.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = build_optimizer(model, OptimizerConfig(kind=case.optimizer))
    apart = tokenizer.eos_id if case.document_mask else None
    engine = engines.build_engine(
        SummedLoss(model, document_start=apart), optimizer, case.resolved(world.size)
    )
    master_weights.materialize_moments(engine)
    return engine


def estimated(case: Case, found: Found, ranks: int, *, on_gpu: bool) -> dict[str, Memory]:
    """Return the estimate: at `rest`, and for each of the levels."""
    setting = case.setting(ranks, on_gpu=on_gpu)
    return training_phases(case.model, found.vocabulary, setting, micro_batch=case.micro_batch)


def estimated_between(case: Case, found: Found, ranks: int, *, on_gpu: bool) -> int:
    """Return the estimate, in bytes, of what a forward pass keeps for the backward pass."""
    setting = case.setting(ranks, on_gpu=on_gpu)
    tokens = case.micro_batch * case.model.context
    left = activations.between(case.model, found.vocabulary, setting, tokens)
    return left.activations + left.logits


def _step(engine: Any, ids: torch.Tensor, accumulation: int, meter: Meter) -> None:
    engines.set_learning_rate(engine, 1e-3)
    for number in range(accumulation):
        with meter.phase("forward"):
            loss = engine(ids, ids.clone())
        with meter.phase("backward"):
            engines.backward(engine, loss / (ids.numel() * accumulation))
        if number + 1 < accumulation:
            engine.step()
    del loss
    with meter.phase("update"):
        engines.update_weights(engine)


def _beside() -> dict[str, int]:
    """Return the bytes of the GPU that are in use, and those that the allocator has reserved."""
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    return {"reserved": reserved, "context": total - free - reserved}
