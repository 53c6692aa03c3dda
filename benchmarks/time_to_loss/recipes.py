"""What is compared: the arms, and the presets that all arms of a comparison share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SEED, SEED_LR = "seed", "seed-lr"
SEED_CONFIG = "zero_nlp-3090.yaml"
# 2 epochs of 6.12 M rows, 160 a step, are 76,500 steps, of which 1,000 warm up: its notebook.
SEED_WARMUP = 1000 / 76_500
WARMUP = 0.05  # share of the steps of ours
POINTS = 8  # scores of a run, for the whole budget


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A shape, a batch, a budget, and the options that were found for ours at them."""

    model: Mapping[str, int]
    """Options of all arms."""
    rows: int
    """Of a step, in all arms."""
    micro_batch: str
    """Rows of a forward pass."""
    tokens: int
    """The whole budget of a run."""
    config: str
    """The file in configs/ that ours starts from."""
    ours: Mapping[str, str]
    """Options of ours beyond its file."""
    muon: Mapping[str, str]
    """Options of ours with Muon beyond those."""

    def steps(self, parts: int) -> int:
        """Return the optimizer steps of a part of the budget: 1 / `parts`."""
        return max(1, round(self.tokens / parts / self.model["context"] / self.rows))

    def period(self, parts: int) -> int:
        """Return the steps between two scores; a run with a part of the budget has fewer scores."""
        return min(-(-self.steps(1) // POINTS), (self.steps(parts) + 1) // 2)


PRESETS = {
    "tiny": Preset(
        model={"layers": 4, "heads": 4, "width": 128, "context": 128},
        rows=8,
        micro_batch="8",
        tokens=1_000_000,
        config="gpt2-tiny.yaml",
        ours={"optimizer.lr": "0.002", "optimizer.final_lr_fraction": "0"},
        muon={"optimizer.lr": "0.004"},
    ),
    # From published runs of this size, not tuned here: 1.5e-3 to 1.8e-3 are best at 0.5 M tokens
    # a step (llm.c discussion 481, modded-nanogpt), and this batch is a sixth of that.
    "small": Preset(
        model={"layers": 12, "heads": 12, "width": 768, "context": 512},
        rows=160,
        micro_batch="auto",
        tokens=400_000_000,
        config="gpt2-small.yaml",
        ours={"optimizer.lr": "0.0012", "optimizer.final_lr_fraction": "0"},
        muon={},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One recipe with a part of the budget."""

    meaning: str
    recipe: Literal["seed", "seed-lr", "ours", "muon"]
    parts: int = 1
    """The budget is divided by this; the schedule ends with it."""
    tokenizer: Literal["given", "builtin"] = "given"

    @property
    def packing(self) -> Literal["zero_nlp", "full"]:
        """How its rows are made."""
        return "zero_nlp" if self.recipe in ("seed", "seed-lr") else "full"


ARMS = {
    SEED: Arm(meaning="zero_nlp's recipe", recipe="seed"),
    SEED_LR: Arm(meaning="seed, but our learning rate", recipe="seed-lr"),
    "ours": Arm(meaning="tuned AdamW, no dropout, full packing", recipe="ours"),
    "ours-half": Arm(meaning="ours, half the budget", recipe="ours", parts=2),
    "ours-third": Arm(meaning="ours, a third of the budget", recipe="ours", parts=3),
    "ours-muon": Arm(meaning="ours, Muon", recipe="muon"),
    "ours-muon-third": Arm(meaning="ours, Muon, a third", recipe="muon", parts=3),
    "ours-builtin": Arm(meaning="ours, builtin tokenizer", recipe="ours", tokenizer="builtin"),
}


def options_of(arm: Arm, preset: Preset) -> dict[str, str]:
    """Return a recipe as options of launcher/pretrain.py; `config` is a file in configs/."""
    steps = preset.steps(arm.parts)
    seed_warmup, warmup = (str(max(1, round(share * steps))) for share in (SEED_WARMUP, WARMUP))
    if arm.recipe == "seed":
        return {"config": SEED_CONFIG, "optimizer.warmup_steps": seed_warmup}
    if arm.recipe == "seed-lr":
        rate = preset.ours["optimizer.lr"]
        return {"config": SEED_CONFIG, "optimizer.lr": rate, "optimizer.warmup_steps": warmup}
    ours = {
        "config": preset.config,
        "model.dropout": "0.0",
        "optimizer.warmup_steps": warmup,
        **preset.ours,
    }
    return ours | ({"optimizer.kind": "muon", **preset.muon} if arm.recipe == "muon" else {})
