"""Speeds of training that others have published, and what `cost.computing` predicts for them.

python -m benchmarks.published
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.harness.cli import Benchmark, Options, table
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import Card, card_named
from gpt2zh.cost.computing import Speed, speed

SMALL = ModelConfig(context=1024)
MPT = {125: ModelConfig(context=512)}  # by millions of parameters
MPT[350] = replace(MPT[125], layers=24, heads=16, width=1024)
MPT[760] = replace(MPT[125], layers=24, heads=12, width=1536)


@dataclass(frozen=True)
class Published:
    """A speed that somebody measured on one card, or on each of several."""

    what: str
    card_name: str
    rate: float
    """Tokens per second of a card."""
    source: str
    model: ModelConfig = SMALL
    vocabulary: int = 50304
    is_compiled: bool = True
    """Compiled by torch.compile, or written as kernels by hand."""
    is_half: bool = True

    @property
    def card(self) -> Card:
        """The card; the A100 of 80 GB has faster memory than the one that the project knows."""
        card = card_named(self.card_name)
        assert card is not None, self.card_name
        return replace(card, memory_rate=2039e9) if "80GB" in self.card_name else card

    def predicted(self) -> Speed:
        """Return the speed that is predicted."""
        return speed(
            self.card,
            self.model,
            self.vocabulary,
            is_compiled=self.is_compiled,
            is_half=self.is_half,
        )


def _foundry(millions: int, card_name: str, rate: float) -> Published:
    source = "mosaicml/llm-foundry, scripts/train/benchmarking"
    return Published(f"MPT-{millions}M", card_name, rate, source, MPT[millions], 50368)


def _eager(what: str, rate: float, *, is_half: bool) -> Published:
    source = "gilesthomas.com/2026/04, llm-from-scratch-32h"
    return Published(what, "RTX 3090", rate, source, is_compiled=False, is_half=is_half)


PUBLISHED = (
    Published("build-nanogpt", "RTX 4090", 130_000, "karpathy/build-nanogpt, issue 6"),
    Published("llm.c's PyTorch", "RTX 4090", 110_500, "tylerromero.com, nanogpt-speedrun-worklog"),
    Published("nanoGPT", "RTX 4090", 105_600, "karpathy/nanoGPT, issue 182 (29 % of an A100)"),
    Published("llm.c", "A10", 57_900, "karpathy/llm.c, pull request 621"),
    Published("llm.c", "A100 80GB", 231_000, "karpathy/llm.c, discussion 481"),
    Published("nanoGPT", "A100", 109_000, "karpathy/nanoGPT, issue 110"),
    _foundry(125, "A100", 156_735),
    _foundry(125, "A100 80GB", 165_681),
    _foundry(350, "A100 80GB", 69_330),
    Published("llm.c", "H100", 468_000, "KellerJordan/modded-nanogpt, records/2024-10-13_llmc"),
    _foundry(760, "H100", 83_749),
    _eager("eager, AMP", 19_921, is_half=True),
    _eager("eager, fp32", 12_599, is_half=False),
)
"""Runs of a GPT-2 small or of similar models."""


def shares() -> list[float]:
    """Return the ratios of measured and predicted speed of the compiled runs."""
    return [run.rate / run.predicted().expected for run in PUBLISHED if run.is_compiled]


def measure(options: Options) -> dict[str, Any]:
    """Compute the predictions."""
    runs = []
    for run in PUBLISHED:
        shape = f"{run.model.layers} x {run.model.width}, {run.model.context}"
        runs.append({"what": run.what, "card": run.card_name, "shape": shape, "rate": run.rate})
        predicted = run.predicted()
        runs[-1] |= {"predicted": predicted.expected, "best": predicted.best, "source": run.source}
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


BENCHMARK = Benchmark(__doc__, lambda parser: None, measure, markdown)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
