"""Turn the figures of rounds into one row per arm; a speed whose losses disagree is void."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import REFERENCE, Recipe
from gpt2zh.cost.cards import peak_flops
from gpt2zh.model import shape

Rounds = list[dict[str, Any]]

# How far a loss may lie from the reference's, as a share of it: at any step that both have logged,
# on average over those steps, and after the last step on held-out rows.
# In 54 steps of a GPT-2 of 4 x 128 on a CPU, arms in bf16 that compute the same in other ways were
# off by 0.066 % at most, 0.015 % on average and 0.020 % on held-out rows; the one with dropout by
# 0.44, 0.21 and 0.22 %. An arm that left out half of the rows was off by 1.53, 0.52 and 0.78 %.
TOLERANCES = {
    "fp32": {"each": 0.001, "mean": 0.0005, "held_out": 0.0005},
    "half": {"each": 0.005, "mean": 0.001, "held_out": 0.002},
    "dropout": {"each": 0.03, "mean": 0.02, "held_out": 0.02},
}


def summary(job: Job, device: str, measured: dict[str, Rounds]) -> dict[str, Any]:
    """Return figures of all rounds (or an `error` instead), and one row per arm made of them."""
    facts, peak = facts_of(job), peak_flops(device) if job.on_gpu else None
    good = {name: [r for r in rounds if "error" not in r] for name, rounds in measured.items()}
    reference = next(iter(good[REFERENCE]), None)
    rows = {}
    for name, rounds in measured.items():
        recipe = job.recipe(name)
        rows[name] = {
            "recipe": asdict(recipe),
            "void": why_void(recipe, rounds, reference),
            **(speed(good[name], facts, peak) if good[name] else {}),
            "rounds": rounds,
        }
    shared = {key: value for key, value in asdict(job).items() if key not in ("work", "shards")}
    return {
        "facts": facts,
        "job": shared | {"total_steps": job.total_steps},
        "peak_flops": peak,
        "tolerances": TOLERANCES,
        "arms": rows,
    }


def facts_of(job: Job) -> dict[str, Any]:
    """Return what follows from the shape and the rows of the window."""
    data = job.data()
    vocabulary = shape.padded_vocabulary(data.tokenizer.vocab_size)
    rows = data.order(job.warmup * job.global_batch, job.steps * job.global_batch)
    return {
        "vocabulary": vocabulary,
        "parameters": shape.parameters(job.model, vocabulary),
        "flops_per_token": shape.flops_per_token(job.model, vocabulary),
        "tokens_per_step": data.make_batch(rows, step=1).tokens / job.steps,
    }


def why_void(recipe: Recipe, rounds: Rounds, reference: dict[str, Any] | None) -> str | None:
    """Return what is wrong with an arm's losses; None if its speed counts.

    Args:
        recipe: Of the arm.
        rounds: Its figures by round.
        reference: Figures of a round of the reference.
    """
    errors = [figures["error"] for figures in rounds if "error" in figures]
    if errors:
        return f"failed: {errors[0]}"
    if reference is None:
        return f"there are no losses of {REFERENCE} to compare with"
    allowed, expected = TOLERANCES[tolerance_kind(recipe)], losses_of(reference)
    for figures in rounds:
        curve = losses_of(figures)
        common = sorted(curve.keys() & expected.keys())
        if not common:
            return "it has logged no losses"
        pairs = [(f"loss at step {s}", curve[s], expected[s], "each") for s in common]
        pairs.append(("held-out loss", figures["held_out"], reference["held_out"], "held_out"))
        for what, value, right, kind in pairs:
            off = abs(value / right - 1)
            if not off <= allowed[kind]:  # also NaN
                return (
                    f"{what} is {value:.4f}, {REFERENCE}'s is {right:.4f}: off by {off:.2%}, "
                    f"allowed are {allowed[kind]:.2%}"
                )
        mean = statistics.fmean(abs(curve[s] / expected[s] - 1) for s in common)
        if mean > allowed["mean"]:
            return f"losses are off by {mean:.2%} on average, allowed are {allowed['mean']:.2%}"
    return None


def tolerance_kind(recipe: Recipe) -> str:
    """Return which tolerance holds for an arm."""
    if recipe.dropout > 0:
        return "dropout"
    return "fp32" if recipe.precision == "fp32" else "half"


def speed(rounds: Rounds, facts: dict[str, Any], peak: float | None) -> dict[str, Any]:
    """Return the steps of all rounds as one row."""
    seconds = np.array([s for figures in rounds for s in figures["step_seconds"]])
    p10, median, p90 = np.percentile(seconds, (10, 50, 90)).tolist()
    rate = facts["tokens_per_step"] / median
    last = losses_of(rounds[-1])
    return {
        "steps": len(seconds),
        "median_ms": 1000 * median,
        "p10_ms": 1000 * p10,
        "p90_ms": 1000 * p90,
        "tokens_per_second": rate,
        "mfu": rate * facts["flops_per_token"] / peak if peak else None,
        "peak_gib": max(figures["peak_gib"] for figures in rounds),
        "last_loss": last[max(last)],
        "held_out": statistics.median(figures["held_out"] for figures in rounds),
    }


def losses_of(figures: dict[str, Any]) -> dict[int, float]:
    """Return the losses of a round by step; in JSON the steps are texts."""
    return {int(step): loss for step, loss in figures["losses"].items()}
