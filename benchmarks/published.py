"""Speeds of training that others have published, beside what `cost.computing` says of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import Card, card_named
from gpt2zh.cost.computing import Speed, speed


@dataclass(frozen=True)
class Published:
    """What somebody measured on one card, or on each of several."""

    what: str
    card: Card
    model: ModelConfig
    vocabulary: int
    rate: float
    """Tokens per second of a card."""
    source: str
    is_compiled: bool = True
    """By torch.compile, or written as kernels by hand."""
    is_half: bool = True


def published() -> list[Published]:
    """Runs of a GPT-2 small or of its like."""
    small, short = (ModelConfig(context=context) for context in (1024, 512))
    medium = dataclasses.replace(short, layers=24, heads=16, width=1024)
    larger = dataclasses.replace(short, layers=24, heads=12, width=1536)
    a100_80 = dataclasses.replace(known("A100"), name="A100 80GB", memory_rate=2039e9)
    foundry = "mosaicml/llm-foundry, scripts/train/benchmarking"
    thomas = "gilesthomas.com/2026/04, llm-from-scratch-32h"
    eager = {"is_compiled": False}

    def run(what: str, card: str | Card, rate: float, source: str, **more: Any) -> Published:
        found = known(card) if isinstance(card, str) else card
        usual = {"model": small, "vocabulary": 50304}
        return Published(what, found, rate=rate, source=source, **usual | more)

    mpt = {"model": short, "vocabulary": 50368}
    return [
        run("build-nanogpt", "RTX 4090", 130_000, "karpathy/build-nanogpt, issue 6"),
        run("llm.c's PyTorch", "RTX 4090", 110_500, "tylerromero.com, nanogpt-speedrun-worklog"),
        run("nanoGPT", "RTX 4090", 105_600, "karpathy/nanoGPT, issue 182 (29 % of an A100)"),
        run("llm.c", "A10", 57_900, "karpathy/llm.c, pull request 621"),
        run("llm.c", a100_80, 231_000, "karpathy/llm.c, discussion 481"),
        run("nanoGPT", "A100", 109_000, "karpathy/nanoGPT, issue 110"),
        run("MPT-125M", "A100", 156_735, foundry, **mpt),
        run("MPT-125M", a100_80, 165_681, foundry, **mpt),
        run("MPT-350M", a100_80, 69_330, foundry, **mpt | {"model": medium}),
        run("llm.c", "H100", 468_000, "KellerJordan/modded-nanogpt, records/2024-10-13_llmc"),
        run("MPT-760M", "H100", 83_749, foundry, **mpt | {"model": larger}),
        run("eager, AMP", "RTX 3090", 19_921, thomas, **eager),
        run("eager, fp32", "RTX 3090", 12_599, thomas, **eager, is_half=False),
    ]


def predicted(run: Published) -> Speed:
    """What the model says of a run."""
    return speed(
        run.card, run.model, run.vocabulary, is_compiled=run.is_compiled, is_half=run.is_half
    )


def shares() -> list[float]:
    """What was measured of what is predicted, of compiled runs."""
    return [run.rate / predicted(run).expected for run in published() if run.is_compiled]


def known(name: str) -> Card:
    """A card that the project knows."""
    card = card_named(name)
    assert card is not None, name
    return card
