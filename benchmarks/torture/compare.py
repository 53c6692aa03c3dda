"""Whether two runs ended in the same state: bit for bit, and by the same way."""

from __future__ import annotations

import json
from pathlib import Path

_WAYS = ("loss", "lr", "gradient_norm", "chain", "rows", "tokens")


def differences(expected: Path, found: Path, *, steps: int) -> list[str]:
    """What differs between the end of an undisturbed run and of another; nothing if all is equal.

    Args:
        expected: Folder of the undisturbed run.
        found: Folder of the other.
        steps: Number of the last step.
    """
    wrong = []
    here, there = (run / f"checkpoint-{steps}" for run in (expected, found))
    if not there.is_dir():
        return [f"there is no {there.name}"]
    for path in sorted(here.glob("*.safetensors")):
        if path.read_bytes() != (there / path.name).read_bytes():
            wrong.append(f"{path.name} differs")
    states = [json.loads((c / "trainer_state.json").read_text("utf-8")) for c in (here, there)]
    for state in states:
        state["progress"].pop("incidents")  # a NaN that hardware made is told of, and no more
    if states[0] != states[1]:
        wrong.append("trainer_state.json differs")
    if (expected / "rows.u64").read_bytes() != (found / "rows.u64").read_bytes():
        wrong.append("rows.u64 differs")
    ways = [_way(run) for run in (expected, found)]
    if ways[0] != ways[1]:
        first = next((i for i, (a, b) in enumerate(zip(*ways, strict=False)) if a != b), "the end")
        wrong.append(f"metrics.jsonl differs from line {first} of the training on")
    return wrong


def _way(run: Path) -> list[list[object]]:
    """Step, loss and the like of every training line."""
    records = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [
        [record["step"], *(record.get(name) for name in _WAYS)]
        for record in records
        if record["kind"] == "train"
    ]
