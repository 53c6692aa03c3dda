"""The arms of the comparison: each a recipe of switches, by name.

`trainer` is transformers' Trainer, `bare` a loop in the manner of nanoGPT, `ours` a real run of
launcher/pretrain.py. `NAME@16` is an arm with another micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

REFERENCE = "bare"
"""All arms must have the losses of this one."""
OVERHEAD = "overhead"
"""An arm of its own kind: overhead.py."""
MAIN = ("hf-seed", "hf-best", "bare", "gpt2zh-0", "gpt2zh-1", "gpt2zh-2")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What may differ between two arms; data, weights, AdamW's numbers and batch never do."""

    loop: Literal["trainer", "bare", "ours"]
    precision: Literal["fp32", "fp16", "bf16"]
    half_weights: bool = False
    """bf16 weights, fp32 master weights and sums of gradients, as in DeepSpeed; else autocast."""
    attention: Literal["eager", "sdpa", "causal"]
    """The two of transformers, or ours, which needs no mask."""
    dropout: float = 0.0
    compile: bool
    chunked_head: bool = False
    """Our loss, which never holds the logits of all tokens at once, and our attention with it."""
    stage: int = 1
    """DeepSpeed's ZeRO stage."""
    micro_batch: int = 0
    """Rows of a forward pass; 0: those of the run, for `hf-seed` an eighth of a step."""
    is_seed: bool = False
    """Whether the Trainer's other settings are the notebook's: AdamW not fused, no workers."""
    is_halved: bool = False
    """Whether every other micro-batch is left out, so that a test sees the arm become void."""


# The notebook of zero_nlp (chinese_gpt2/train_chinese_gpt2.ipynb): a GPT2Config and Trainer as
# they come, with fp16 and 20 x 8 rows. transformers' GPT-2 had no SDPA then.
_SEED = Recipe(
    loop="trainer", precision="fp16", attention="eager", dropout=0.1, compile=False, is_seed=True
)
_BEST = Recipe(loop="trainer", precision="bf16", attention="sdpa", compile=True)
# What each rung has more. `loop` is hf-best's recipe in a bare loop, not compiled; `bare` has all
# that gpt2zh has, without DeepSpeed.
_LADDER: dict[str, dict[str, Any]] = {
    "loop": {"loop": "bare", "compile": False},
    "+compile": {"compile": True},
    "+causal": {"attention": "causal"},
    "+chunked-head": {"chunked_head": True},
    "bare": {"half_weights": True},
    "gpt2zh-1": {"loop": "ours"},
}


def ladder(micro_batch: int) -> list[str]:
    """Return the rungs, each with one switch more; the last has twice the run's micro-batch."""
    return [*_LADDER, f"gpt2zh-1@{2 * micro_batch}"]


def recipes() -> dict[str, Recipe]:
    """Return all arms by name."""
    known, recipe = {"hf-seed": _SEED, "hf-best": _BEST}, _BEST
    for name, change in _LADDER.items():
        known[name] = recipe = replace(recipe, **change)
    known |= {f"gpt2zh-{stage}": replace(recipe, stage=stage) for stage in (0, 1, 2)}
    return known | {"half": replace(known["bare"], is_halved=True)}


def recipe_of(name: str) -> Recipe:
    """Return the recipe of an arm.

    Raises:
        SystemExit: There is no such arm.
    """
    base, at, rows = name.partition("@")
    known = recipes()
    if base not in known or (at and not rows.isdecimal()):
        names = ", ".join(known)
        raise SystemExit(f"error: no arm '{name}'; there are: {names}, also @ROWS, and {OVERHEAD}")
    return replace(known[base], micro_batch=int(rows or 0))
