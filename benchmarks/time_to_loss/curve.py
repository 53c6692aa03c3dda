"""Compute from the points of runs when one recipe is as good as another.

A run is a table with `points`, each with `tokens` and `seconds` of training so far and with
`bits_per_character`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

Axis = Literal["tokens", "seconds"]
AXES: tuple[Axis, ...] = ("tokens", "seconds")
Run = dict[str, Any]


def timeline(lines: Iterable[str]) -> list[tuple[int, float]]:
    """Return tokens and seconds of training so far at each logged step of a metrics.jsonl.

    A line holds the tokens per second since the line before, without saving and validation. The
    first step compiles; it counts as much as the median of the others.
    """
    records = [json.loads(line) for line in lines]
    train = [r for r in records if r["kind"] == "train"]
    rates = [r["tokens_per_second"] for r in train]
    if len(rates) > 1:
        rates[0] = statistics.median(rates[1:])
    found, tokens, seconds = [(0, 0.0)], 0, 0.0
    for record, rate in zip(train, rates, strict=True):
        seconds += (record["tokens"] - tokens) / rate
        tokens = record["tokens"]
        found.append((tokens, seconds))
    return found


def seconds_at(tokens: int, line: Sequence[tuple[int, float]]) -> float:
    """Return the seconds at a number of tokens between logged steps, or at the last one."""
    for (before, begun), (after, ended) in pairwise(line):
        if tokens <= after:
            return begun + (ended - begun) * (tokens - before) / (after - before)
    return line[-1][1]


def final(run: Run) -> float:
    """Return bits per character at the end of a run."""
    return float(run["points"][-1]["bits_per_character"])


def crossing(run: Run, goal: float, axis: Axis) -> float | None:
    """Return where a run first is as good as `goal`, by straight lines between its points.

    A run that is better at its first point counts as crossing there. None if it never is as good.
    """
    points = run["points"]
    for before, point in pairwise([points[0], *points]):
        was, now = before["bits_per_character"], point["bits_per_character"]
        if now <= goal:
            share = (was - goal) / (was - now) if was > goal else 1.0
            return float(before[axis] + share * (point[axis] - before[axis]))
    return None


def pairs(runs: Sequence[Run], arm: str, base: str) -> list[tuple[Run, Run]]:
    """Return the runs of an arm, each with the run of `base` that has the same seed."""
    bases = {run["seed"]: run for run in runs if run["arm"] == base}
    chosen = (run for run in runs if run["arm"] == arm and run["seed"] in bases)
    return [(run, bases[run["seed"]]) for run in chosen]


def shares(runs: Sequence[Run], arm: str, base: str, axis: Axis) -> list[float | None]:
    """Return the share of the cost of `base` after which an arm is as good, for each seed."""
    found: list[float | None] = []
    for run, other in pairs(runs, arm, base):
        place = crossing(run, final(other), axis)
        found.append(None if place is None else place / other["points"][-1][axis])
    return found


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the distance between the least and the greatest."""
    return statistics.fmean(values), (max(values) - min(values)) / 2
