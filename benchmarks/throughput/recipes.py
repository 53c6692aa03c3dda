"""The arms of the comparison: each a recipe of switches, by name.

`trainer` is transformers' Trainer, `bare` a loop in the manner of nanoGPT, `gpt2zh` a real run of
launcher/pretrain.py. `NAME@16` is an arm with another micro-batch, `NAME@best` with the largest one
that fits into memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

REFERENCE = "bare"
"""All arms must have the losses of this one."""
BEST: Final = "best"
OVERHEAD = "overhead"
"""An arm of its own kind: overhead.py."""
MAIN = ("hf-seed", "hf-best", "bare", "gpt2zh-0", "gpt2zh-1", "gpt2zh-2")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What may differ between two arms; data, weights, AdamW's numbers and batch never do."""

    loop: Literal["trainer", "bare", "gpt2zh"]
    precision: Literal["fp32", "fp16", "bf16"]
    half_weights: bool = False
    """bf16 weights, fp32 master weights and sums of gradients, as in DeepSpeed; else autocast."""
    attention: Literal["eager", "sdpa", "causal"]
    """The two of transformers, or ours, which needs no mask."""
    activation: Literal["gelu_new", "gelu_pytorch_tanh"]
    dropout: float = 0.0
    fused_adamw: bool
    compile: bool
    chunked_head: bool = False
    """Our loss, which never holds the logits of all tokens at once."""
    stage: int = 1
    """DeepSpeed's ZeRO stage."""
    micro_batch: int | Literal["own", "best"] = "own"
    """Rows; `own` is that of the run, for `hf-seed` that of its recipe."""
    is_halved: bool = False
    """Whether every other micro-batch is left out, so that a test sees the arm become void."""


# The notebook of zero_nlp (chinese_gpt2/train_chinese_gpt2.ipynb): a GPT2Config and Trainer as
# they come, with fp16 and 20 x 8 rows. transformers' GPT-2 had no SDPA then.
SEED = Recipe(
    loop="trainer",
    precision="fp16",
    attention="eager",
    activation="gelu_new",
    dropout=0.1,
    fused_adamw=False,
    compile=False,
)
_LADDER: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("seed-loop", "the seed's recipe in a bare loop", {"loop": "bare"}),
    ("+bf16", "bf16 instead of fp16", {"precision": "bf16"}),
    ("+sdpa", "transformers' SDPA instead of eager attention", {"attention": "sdpa"}),
    ("+no-dropout", "no dropout", {"dropout": 0.0}),
    ("+tanh-gelu", "GELU as one kernel", {"activation": "gelu_pytorch_tanh"}),
    ("+fused-adamw", "torch's fused AdamW", {"fused_adamw": True}),
    ("+compile", "torch.compile", {"compile": True}),
    ("+causal", "our causal attention: no mask, so flash kernels", {"attention": "causal"}),
    ("+chunked-head", "head and loss in chunks", {"chunked_head": True}),
    ("bare", "bare loop with all that gpt2zh has, without DeepSpeed", {"half_weights": True}),
    ("gpt2zh-1", "gpt2zh, ZeRO 1", {"loop": "gpt2zh"}),
    (f"gpt2zh-1@{BEST}", "", {"micro_batch": BEST}),
)
MEANING = {name: text for name, text, _ in _LADDER} | {
    "hf-seed": "Trainer as in zero_nlp's notebook",
    "hf-best": "Trainer: bf16, SDPA, fused AdamW, torch.compile, workers",
    "gpt2zh-0": "gpt2zh, ZeRO 0",
    "gpt2zh-2": "gpt2zh, ZeRO 2",
    "half": "sabotage: every other micro-batch is left out",
}


def ladder() -> dict[str, Recipe]:
    """Return the rungs from the seed's recipe to ours; each differs from the last in one switch."""
    rungs, recipe = {}, SEED
    for name, _, change in _LADDER:
        recipe = replace(recipe, **change)
        rungs[name] = recipe
    return rungs


def recipes() -> dict[str, Recipe]:
    """Return all arms by name."""
    rungs = ladder()
    return {
        "hf-seed": SEED,
        "hf-best": replace(
            SEED, precision="bf16", attention="sdpa", dropout=0.0, fused_adamw=True, compile=True
        ),
        **rungs,
        **{f"gpt2zh-{stage}": replace(rungs["gpt2zh-1"], stage=stage) for stage in (0, 1, 2)},
        "half": replace(rungs["bare"], is_halved=True),
    }


def recipe_of(name: str) -> Recipe:
    """Return the recipe of an arm.

    Raises:
        SystemExit: There is no such arm.
    """
    base, at, rows = name.partition("@")
    known = recipes()
    if base not in known or (at and rows != BEST and not rows.isdecimal()):
        raise SystemExit(
            f"error: no arm '{name}'; there are: {', '.join(known)}, each also with @ROWS or "
            f"@{BEST}, and {OVERHEAD}"
        )
    if not at:
        return known[base]
    return replace(known[base], micro_batch=BEST if rows == BEST else int(rows))


def meaning(name: str) -> str:
    """Return what an arm is, for a reader."""
    base, _, rows = name.partition("@")
    if not rows:
        return MEANING[base]
    return f"{MEANING[base]}, micro-batch {'as large as fits' if rows == BEST else rows}"
