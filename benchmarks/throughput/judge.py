"""Turn the figures of rounds into one row per arm; a speed whose losses disagree is void."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import REFERENCE, meaning, recipe_of
from gpt2zh.cost.cards import peak_flops

_OWN_PATHS = ("shards", "weights")
FORMULA = "6 (12 L D^2 + V D) + 12 L D T FLOPs per token, attention not halved"
Rounds = list[dict[str, Any]]


@dataclass(frozen=True)
class Tolerance:
    """How far a loss may lie from the reference's, as a share of it."""

    each: float
    """At any step that both have logged."""
    mean: float
    """On average over those steps."""
    held_out: float
    """After the last step."""


# In 54 steps of a GPT-2 of 4 x 128 on a CPU, arms in bf16 that compute the same in other ways were
# off by 0.066 % at most, 0.015 % on average and 0.020 % on held-out rows; the one with dropout by
# 0.44, 0.21 and 0.22 %. An arm that left out half of the rows was off by 1.53, 0.52 and 0.78 %.
TOLERANCES = {
    "fp32": Tolerance(each=0.001, mean=0.0005, held_out=0.0005),
    "half": Tolerance(each=0.005, mean=0.001, held_out=0.002),
    "dropout": Tolerance(each=0.03, mean=0.02, held_out=0.02),
}


def summary(
    job: Job, facts: dict[str, Any], devices: Rounds, measured: dict[str, Rounds]
) -> dict[str, Any]:
    """Return all that a reader needs: the raw figures and what follows from them.

    Args:
        job: The run.
        facts: Of the data and the shape.
        devices: Name and matrix product of the device, by round.
        measured: Figures by arm and round, or an `error`.
    """
    product = max((d["matrix_product"] for d in devices), key=lambda p: p["flops"])
    peak = peak_flops(devices[0]["device"]) if job.on_gpu else None
    reference = Reference.of(measured.get(REFERENCE, []))
    rows = {}
    for name, rounds in measured.items():
        good = [figures for figures in rounds if "error" not in figures]
        rows[name] = {
            "what": meaning(name),
            "recipe": asdict(job.applied(name, recipe_of(name))),
            "tolerance": tolerance_kind(job, name),
            "void": why_void(job, name, rounds, reference),
            **(speed(good, facts, peak=peak, product=product["flops"]) if good else {}),
            "rounds": rounds,
        }
    return {
        "facts": facts,
        "job": {
            **{key: value for key, value in asdict(job).items() if key not in _OWN_PATHS},
            "total_steps": job.total_steps,
        },
        "formula": FORMULA,
        "peak_flops": peak,
        "matrix_product": product,
        "tolerances": {kind: asdict(tolerance) for kind, tolerance in TOLERANCES.items()},
        "reference": REFERENCE,
        "arms": rows,
    }


@dataclass(frozen=True)
class Reference:
    """The losses that every arm must have."""

    losses: dict[int, float]
    held_out: float

    @classmethod
    def of(cls, rounds: Rounds) -> Reference | None:
        """Return the medians of the reference's rounds; None if it has none."""
        good = [figures for figures in rounds if "error" not in figures]
        if not good:
            return None
        curves = [losses_of(figures) for figures in good]
        steps = {step: statistics.median(c[step] for c in curves) for step in curves[0]}
        return cls(steps, statistics.median(figures["held_out"] for figures in good))


def why_void(job: Job, name: str, rounds: Rounds, reference: Reference | None) -> str | None:
    """Return what is wrong with an arm's losses; None if its speed counts."""
    errors = [figures["error"] for figures in rounds if "error" in figures]
    if errors:
        return f"failed: {errors[0]}"
    if reference is None:
        return f"there are no losses of {REFERENCE} to compare with"
    allowed = TOLERANCES[tolerance_kind(job, name)]
    for figures in rounds:
        curve = losses_of(figures)
        common = sorted(curve.keys() & reference.losses.keys())
        if not common:
            return "it has logged no losses"
        pairs = [(f"loss at step {s}", curve[s], reference.losses[s], allowed.each) for s in common]
        pairs += [("held-out loss", figures["held_out"], reference.held_out, allowed.held_out)]
        for what, value, expected, share in pairs:
            if not abs(value / expected - 1) <= share:  # also NaN
                return (
                    f"{what} is {value:.4f}, {REFERENCE}'s is {expected:.4f}: off by "
                    f"{abs(value / expected - 1):.2%}, allowed are {share:.2%}"
                )
        off = statistics.fmean(abs(curve[s] / reference.losses[s] - 1) for s in common)
        if off > allowed.mean:
            return f"losses are off by {off:.2%} on average, allowed are {allowed.mean:.2%}"
    return None


def tolerance_kind(job: Job, name: str) -> str:
    """Return which tolerance holds for an arm."""
    recipe = job.applied(name, recipe_of(name))
    if recipe.dropout > 0:
        return "dropout"
    return "fp32" if recipe.precision == "fp32" else "half"


def speed(
    rounds: Rounds, facts: dict[str, Any], *, peak: float | None, product: float
) -> dict[str, Any]:
    """Return the steps of all rounds as one row."""
    seconds = np.array([s for figures in rounds for s in figures["step_seconds"]])
    wall = math.fsum(figures["wall_seconds"] for figures in rounds)
    p10, median, p90 = np.percentile(seconds, (10, 50, 90)).tolist()
    rate = facts["tokens_per_step"] / median
    flops = rate * facts["flops_per_token"]
    cards = [figures["card"] for figures in rounds if figures["card"]]
    last = losses_of(rounds[-1])
    return {
        "micro_batch": rounds[0]["micro_batch"],
        "steps": len(seconds),
        "median_ms": 1000 * median,
        "p10_ms": 1000 * p10,
        "p90_ms": 1000 * p90,
        "tokens_per_second": rate,
        "mean_tokens_per_second": facts["tokens_per_step"] * len(seconds) / wall,
        "mfu": flops / peak if peak else None,
        "of_matrix_product": flops / product,
        "peak_gib": max(figures["peak_gib"] for figures in rounds),
        "reserved_gib": max(figures.get("reserved_gib", 0.0) for figures in rounds) or None,
        "wait_share": math.fsum(figures["wait_seconds"] for figures in rounds) / wall,
        "ready_seconds": [figures["ready_seconds"] for figures in rounds],
        "last_loss": last[max(last)],
        "held_out": statistics.median(figures["held_out"] for figures in rounds),
        "card": {n: statistics.median(c[n] for c in cards) for n in (cards[0] if cards else ())},
    }


def losses_of(figures: dict[str, Any]) -> dict[int, float]:
    """Return the losses of a round by step; in JSON the steps are texts."""
    return {int(step): loss for step, loss in figures["losses"].items()}
