"""From the points of runs to when one recipe is as good as another; pure arithmetic.

A run is a table with its `points`, each with `tokens` and `seconds` of training so far and a score
of each kind of text.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from quality.held_out import bits_per_character

Axis = Literal["tokens", "seconds"]
AXES: tuple[Axis, ...] = ("tokens", "seconds")
KINDS = ("long", "short")


def timeline(lines: Iterable[str]) -> list[tuple[int, float]]:
    """Tokens and seconds of training so far at each logged step of a metrics.jsonl.

    A line tells the tokens per second since the one before it, in which saving and validation are
    not counted. The first step compiles; it counts as much as the others do in the median.
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
    """Seconds at a number of tokens between the logged ones, or at the last of them."""
    for (before, begun), (after, ended) in pairwise(line):
        if tokens <= after:
            return begun + (ended - begun) * (tokens - before) / (after - before)
    return line[-1][1]


def bits(point: dict[str, Any], kinds: Sequence[str] = KINDS) -> float:
    """Bits per character at a point."""
    return bits_per_character([point[kind] for kind in kinds])


def final(run: dict[str, Any], kinds: Sequence[str] = KINDS) -> float:
    """Bits per character at the end of a run."""
    return bits(run["points"][-1], kinds)


def crossing(run: dict[str, Any], goal: float, axis: Axis) -> float | None:
    """Where a run first is as good as `goal`, by straight lines between its points.

    Nothing is known before the first point: a run that is better there counts as crossing there.
    None if it never is.
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
    """What share of the cost of `base` an arm needs to be as good, by the seed of both runs."""
    bases = {run["seed"]: run for run in runs if run["arm"] == base}
    found: dict[int, float | None] = {}
    for run in runs:
        if run["arm"] == arm and run["seed"] in bases:
            other = bases[run["seed"]]
            place = crossing(run, final(other), axis)
            found[run["seed"]] = None if place is None else place / other["points"][-1][axis]
    return found


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the distance between the least and the greatest."""
    if not values:
        return math.nan, math.nan
    return statistics.fmean(values), (max(values) - min(values)) / 2
