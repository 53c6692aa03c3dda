"""Compare a segment of a run with the same segment trained again: rows, losses, state, tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2zh.checkpoint.tensor_reader import StoredTensor, measure_difference
from gpt2zh.pages.numbers import plural
from gpt2zh.run.telemetry import METRICS


@dataclass(frozen=True)
class Comparison:
    """The result of one comparison."""

    what: str
    """What was compared, in one word."""
    text: str
    """The result, for a reader."""
    holds: bool
    """Whether the result is as required."""

    @property
    def unjudged(self) -> Comparison:
        """The same result, where nothing is required."""
        return Comparison(self.what, f"{self.text} (not judged)", holds=True)


Figures = Mapping[int, Mapping[str, Any]]
"""Training records of metrics.jsonl by step."""


def read_figures(run: Path, steps: range) -> dict[int, dict[str, Any]]:
    """Return the training records of these steps; the run may still be writing."""
    found = {}
    try:
        text = (run / METRICS).read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    for line in text.split("\n"):
        try:
            record = json.loads(line)
        except ValueError:  # half written
            continue
        if not isinstance(record, dict) or record.get("kind") != "train":
            continue
        if record.get("step") in steps:
            found[int(record["step"])] = record
    return found


def compare_rows(
    expected: Sequence[tuple[int, str]], logged: Figures, saved: str, name: str
) -> Comparison:
    """Compare the hash chain of a run with the one that follows from the order of the data.

    Args:
        expected: Steps with the chain after each.
        logged: The records that the run has written of them.
        saved: The chain in the last checkpoint.
        name: Name of that checkpoint.
    """
    for step, link in expected:
        found = logged.get(step, {}).get("chain", link)
        if found != link:
            text = f"step {step} is the first whose chain is not that of the data: the run logged "
            return Comparison("rows", f"{text}{found[:12]}, expected {link[:12]}", holds=False)
    last = expected[-1][1]
    if saved != last:
        text = f"the chain of {name} is {saved[:12]}, but that of the data is {last[:12]}"
        return Comparison("rows", text, holds=False)
    text = f"{plural(len(expected), 'step')} read the rows in the order of the data (chain "
    return Comparison("rows", f"{text}{last[:12]})", holds=True)


def compare_tensors(
    ours: Mapping[str, StoredTensor], again: Mapping[str, StoredTensor]
) -> Comparison:
    """Compare all weights and moments of two checkpoints, bit by bit."""
    names = sorted(ours.keys() | again.keys())
    gaps = {name: gap for name, gap in _gaps(ours, again, names) if gap is not None}
    if not gaps:
        text = f"{len(names)} of {len(names)} weights and moments are equal in every bit"
        return Comparison("tensors", text, holds=True)
    worst = max(gaps, key=lambda name: gaps[name])
    text = f"{len(gaps)} of {len(names)} differ, {worst} most: by {_share(gaps[worst])}"
    others = sorted(gaps.keys() - {worst}, key=lambda name: -gaps[name])[:3]
    if others:
        text += "; then " + ", ".join(f"{name} by {gaps[name]:.1e}" for name in others)
    return Comparison("tensors", text, holds=False)


def _gaps(
    ours: Mapping[str, StoredTensor], again: Mapping[str, StoredTensor], names: Iterable[str]
) -> Iterator[tuple[str, float | None]]:
    for name in names:
        both = name in ours and name in again
        yield name, measure_difference(ours[name].read(), again[name].read()) if both else math.inf


def _share(gap: float) -> str:
    return f"{gap:.1e} of its largest value" if gap else "only the sign of a zero"


def compare_states(ours: Mapping[str, Any], again: Mapping[str, Any]) -> Comparison:
    """Compare the rest of two trainer states: counts, loss scale, bad steps."""
    flat, other = _flat(ours), _flat(again)
    differing = [
        f"{name} is {_short(flat.get(name))} in the run, {_short(other.get(name))} again"
        for name in sorted(flat.keys() | other.keys())
        if flat.get(name) != other.get(name)
    ]
    if differing:
        return Comparison("state", "; ".join(differing), holds=False)
    return Comparison(
        "state", "step, rows, updates, loss scale and bad steps are equal", holds=True
    )


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    progress = state["progress"]
    # Not steps whose second attempt was good: a hardware error does not repeat.
    lasting = [bad for bad in progress.get("incidents", ()) if bad.get("again") != "good"]
    return {**state, **progress, "progress": None, "incidents": lasting}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."


def compare_steps(logged: Figures, again: Figures, steps: range, *, tolerance: float) -> Comparison:
    """Compare the losses and learning rates that a run logged with those of the second training.

    Args:
        logged: Records of the run; often not of every step.
        again: Records of the second training, of every step.
        steps: The steps of the segment.
        tolerance: Largest relative difference of two losses; 0 requires equal values.
    """
    if not logged:
        return Comparison("steps", "the run logged none of them", holds=True)
    gaps = {
        step: _gap(logged[step].get("loss"), again.get(step, {}).get("loss")) for step in logged
    }
    rates = [step for step in logged if logged[step]["lr"] != again.get(step, {}).get("lr")]
    apart = [step for step in sorted(gaps) if gaps[step] > tolerance]
    if apart:
        first = apart[0]
        text = (
            f"step {first} is the first whose loss differs: {logged[first].get('loss')} in the "
            f"run, {again.get(first, {}).get('loss')} again; the largest difference is "
            f"{max(gaps.values()):.1e}"
        )
    elif rates:
        first = min(rates)
        text = (
            f"step {first} is the first whose learning rate differs: {logged[first]['lr']} in the "
            f"run, {again.get(first, {}).get('lr')} again"
        )
    else:
        known = f"{len(logged)} of {len(steps)} steps were logged by the run; their losses and "
        equal = f"agree to {max(gaps.values()):.1e}" if tolerance else "are equal"
        text = f"{known}learning rates {equal}"
    if tolerance:
        text += f" (the tolerance for losses is {tolerance:g})"
    return Comparison("steps", text, holds=not apart and not rates)


def _gap(ours: float | None, again: float | None) -> float:
    """Return the relative difference of two losses; None stands for one that is not finite."""
    if ours == again:
        return 0.0
    if ours is None or again is None:
        return math.inf
    return abs(ours - again) / max(abs(ours), 1e-45)
