"""Compute from the points of runs when one recipe is as good as another.

A run is a table with `points`, each with `tokens` and `seconds` of training so far and a score of
each kind of text.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from benchmarks.time_to_loss.held_out import bits_per_character

Axis = Literal["tokens", "seconds"]
AXES: tuple[Axis, ...] = ("tokens", "seconds")
KINDS = ("long", "short")


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


def bits(point: dict[str, Any], kinds: Sequence[str] = KINDS) -> float:
    """Return bits per character at a point."""
    return bits_per_character([point[kind] for kind in kinds])


def final(run: dict[str, Any], kinds: Sequence[str] = KINDS) -> float:
    """Return bits per character at the end of a run."""
    return bits(run["points"][-1], kinds)


def crossing(run: dict[str, Any], goal: float, axis: Axis) -> float | None:
    """Return where a run first is as good as `goal`, by straight lines between its points.

    A run that is better at its first point counts as crossing there. None if it never is as good.
    """
    before: dict[str, Any] | None = None
    for point in run["points"]:
        now = bits(point)
        if now <= goal:
            if before is None:
                return float(point[axis])
            was = bits(before)
            share = (was - goal) / (was - now)
            return float(before[axis] + share * (point[axis] - before[axis]))
        before = point
    return None


def shares(
    runs: Sequence[dict[str, Any]], arm: str, base: str, axis: Axis
) -> dict[int, float | None]:
    """Return the share of the cost of `base` that an arm needs to be as good, by seed."""
    bases = {run["seed"]: run for run in runs if run["arm"] == base}
    found: dict[int, float | None] = {}
    for run in runs:
        if run["arm"] == arm and run["seed"] in bases:
            other = bases[run["seed"]]
            place = crossing(run, final(other), axis)
            found[run["seed"]] = None if place is None else place / other["points"][-1][axis]
    return found


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the distance between the least and the greatest."""
    if not values:
        return math.nan, math.nan
    return statistics.fmean(values), (max(values) - min(values)) / 2
