"""Speeds of training that others have published, and what `cost.computing` predicts for them.

python -m benchmarks.published
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.cli import Benchmark, Options, table
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import Card, card_named
from gpt2zh.cost.computing import Speed, speed


@dataclass(frozen=True)
class Published:
    """A speed that somebody measured on one card, or on each of several."""

    what: str
    card: Card
    model: ModelConfig
    vocabulary: int
    rate: float
    """Tokens per second of a card."""
    source: str
    is_compiled: bool = True
    """Compiled by torch.compile, or written as kernels by hand."""
    is_half: bool = True


def published() -> list[Published]:
    """Return runs of a GPT-2 small or of similar models."""
    small, short = (ModelConfig(context=context) for context in (1024, 512))
    medium = dataclasses.replace(short, layers=24, heads=16, width=1024)
    larger = dataclasses.replace(short, layers=24, heads=12, width=1536)
    a100_80 = dataclasses.replace(known("A100"), name="A100 80GB", memory_rate=2039e9)
    foundry = "mosaicml/llm-foundry, scripts/train/benchmarking"
    thomas = "gilesthomas.com/2026/04, llm-from-scratch-32h"
    eager: dict[str, Any] = {"is_compiled": False}

    def run(what: str, card: str | Card, rate: float, source: str, **more: Any) -> Published:
        found = known(card) if isinstance(card, str) else card
        usual: dict[str, Any] = {"model": small, "vocabulary": 50304}
        return Published(what, found, rate=rate, source=source, **usual | more)

    mpt: dict[str, Any] = {"model": short, "vocabulary": 50368}
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
    """Return the speed that is predicted for a run."""
    return speed(
        run.card, run.model, run.vocabulary, is_compiled=run.is_compiled, is_half=run.is_half
    )


def shares() -> list[float]:
    """Return the ratios of measured and predicted speed of the compiled runs."""
    return [run.rate / predicted(run).expected for run in published() if run.is_compiled]


def known(name: str) -> Card:
    """Return a card that the project knows."""
    card = card_named(name)
    assert card is not None, name
    return card


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: there is nothing to choose."""


def measure(options: Options) -> dict[str, Any]:
    """Compute the predictions."""
    runs = [
        {
            "what": run.what,
            "card": run.card.name,
            "shape": f"{run.model.layers} x {run.model.width}, {run.model.context}",
            "rate": run.rate,
            "predicted": predicted(run).expected,
            "best": predicted(run).best,
            "is_compiled": run.is_compiled,
            "source": run.source,
        }
        for run in published()
    ]
    return {"runs": runs, "median_share": statistics.median(shares())}


def markdown(report: dict[str, Any]) -> str:
    """Return the table."""
    columns = ["run", "card", "layers x width, context", "tokens/s", "predicted", "at best"]
    rows = [
        [run["what"], run["card"], run["shape"]]
        + [f"{run[key]:,.0f}" for key in ("rate", "predicted", "best")]
        + [f"{run['rate'] / run['predicted']:.2f}", run["source"]]
        for run in report["runs"]
    ]
    return (
        "Published speeds, and what `gpt2zh.cost.computing` predicts for them; nothing is measured "
        f"here. Median ratio of compiled runs: {report['median_share']:.2f}.\n\n"
        f"{table([*columns, 'ratio', 'source'], rows)}\n"
    )


if __name__ == "__main__":
    sys.exit(Benchmark(__doc__, add_options, measure, markdown).main())
