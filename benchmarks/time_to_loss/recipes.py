"""The recipes that are compared: the data and the options of each arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpt2zh.config.schema import ModelConfig
from gpt2zh.config.stages import Stages

SEED, SEED_TUNED = "seed", "seed-lr"
SEED_CONFIG = "zero_nlp-3090.yaml"
# 2 epochs of 6.12 M rows, 160 a step, are 76,500 steps, of which 1,000 warm up: its notebook.
SEED_WARMUP = 1000 / 76_500


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A shape, a batch and the options found for ours at it."""

    model: ModelConfig
    config: str
    """The file in configs/ that ours starts from."""
    rows: int
    """Of a step, in all arms."""
    micro_batch: str
    """Rows of a forward pass; empty: the whole step."""
    tokens: int
    """The whole budget, unless an option changes it."""
    tuned: Mapping[str, str]
    """Options of ours beyond its file."""
    muon: Mapping[str, str]
    """Options of ours with Muon beyond those."""
    lengths: tuple[tuple[int, float], ...]
    """Short sequences first: tokens of a sequence, share of the steps."""
    warmup: float = 0.05
    """Share of the steps of ours that warm up."""


PRESETS = {
    "tiny": Preset(
        model=ModelConfig(layers=4, heads=4, width=128, context=128),
        config="gpt2-tiny.yaml",
        rows=8,
        micro_batch="",
        tokens=1_000_000,
        tuned={"optimizer.lr": "0.002", "optimizer.final_lr_fraction": "0"},
        muon={"optimizer.lr": "0.004"},
        lengths=((32, 0.2), (64, 0.2)),
    ),
    # From published runs of this size, not tuned here: 1.5e-3 to 1.8e-3 are best at 0.5 M tokens
    # a step (llm.c discussion 481, modded-nanogpt), and this batch is a sixth of that.
    "small": Preset(
        model=ModelConfig(layers=12, heads=12, width=768, context=512),
        config="gpt2-small.yaml",
        rows=160,
        micro_batch="auto",
        tokens=400_000_000,
        tuned={"optimizer.lr": "0.0012", "optimizer.final_lr_fraction": "0"},
        muon={},
        lengths=((128, 0.2), (256, 0.2)),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One recipe."""

    meaning: str
    base: Literal["seed", "ours"] = "ours"
    """Whose hyperparameters it starts from."""
    packing: Literal["full", "zero_nlp"] = "full"
    tokenizer: Literal["given", "builtin"] = "given"
    parts: int = 1
    """The budget is divided by this; the schedule ends with it."""
    options: Mapping[str, str] = field(default_factory=dict)
    extras: tuple[Literal["lr", "muon", "lengths"], ...] = ()
    """Options from the preset: our learning rate for the seed, or additions to ours."""

    @property
    def data(self) -> str:
        """Name of the shards it trains on."""
        return f"{self.tokenizer}-{self.packing}"


ARMS = {
    SEED: Arm(meaning="zero_nlp's recipe", base="seed", packing="zero_nlp"),
    "ours": Arm(meaning="tuned AdamW, no dropout, full packing"),
    "ours-half": Arm(meaning="ours, half the budget", parts=2),
    "ours-third": Arm(meaning="ours, a third of the budget", parts=3),
    "ours-builtin": Arm(meaning="ours, builtin tokenizer", tokenizer="builtin"),
    "ours-builtin-third": Arm(
        meaning="the same, a third of the budget", tokenizer="builtin", parts=3
    ),
    "ours-muon": Arm(meaning="ours, Muon", extras=("muon",)),
    "ours-muon-builtin": Arm(
        meaning="ours, Muon, builtin tokenizer", tokenizer="builtin", extras=("muon",)
    ),
    "ours-muon-third": Arm(meaning="ours, Muon, a third", extras=("muon",), parts=3),
    "ours-lengths": Arm(meaning="ours, short sequences first", extras=("lengths",)),
    SEED_TUNED: Arm(
        meaning="seed, but our learning rate", base="seed", packing="zero_nlp", extras=("lr",)
    ),
    "seed-full": Arm(meaning="seed, but full packing", base="seed"),
    "seed-dropout": Arm(
        meaning="seed, but no dropout",
        base="seed",
        packing="zero_nlp",
        options={"model.dropout": "0.0"},
    ),
}
MAIN = (
    *(SEED, SEED_TUNED, "ours", "ours-half", "ours-third"),
    *("ours-muon", "ours-muon-third", "ours-builtin"),
)


def options_of(arm: Arm, preset: Preset, steps: int) -> dict[str, str]:
    """Return a recipe as options of launcher/pretrain.py, with its config file.

    Args:
        arm: The arm.
        preset: Holds the values that were tuned for a shape.
        steps: Optimizer steps of the run.
    """
    warmup = str(max(1, round(preset.warmup * steps)))
    if arm.base == "seed":
        seed_warmup = str(max(1, round(SEED_WARMUP * steps)))
        found = {"config": SEED_CONFIG, "optimizer.warmup_steps": seed_warmup}
        if "lr" in arm.extras:
            rate = preset.tuned["optimizer.lr"]
            found |= {"optimizer.lr": rate, "optimizer.warmup_steps": warmup}
        return found | dict(arm.options)
    found = {
        "config": preset.config,
        "model.dropout": "0.0",
        "optimizer.warmup_steps": warmup,
        **preset.tuned,
    }
    if "muon" in arm.extras:
        found |= {"optimizer.kind": "muon", **preset.muon}
    if "lengths" in arm.extras:
        stages = ((length, max(1, round(share * steps))) for length, share in preset.lengths)
        found["train.sequence_length_warmup"] = str(Stages(*stages))
    return found | dict(arm.options)
