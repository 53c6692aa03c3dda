"""Compare two runs bit for bit: their last checkpoints and the steps that led to them."""

from __future__ import annotations

import json
from pathlib import Path

_LOGGED = ("loss", "lr", "gradient_norm", "chain", "rows", "tokens")


def differences(expected: Path, found: Path, *, steps: int) -> list[str]:
    """Return the differences between a run without faults and another one.

    Args:
        expected: Folder of the run without faults.
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
        state["progress"].pop("incidents")  # a repeated step is noted there, and only there
    if states[0] != states[1]:
        wrong.append("trainer_state.json differs")
    if (expected / "rows.u64").read_bytes() != (found / "rows.u64").read_bytes():
        wrong.append("rows.u64 differs")
    steps_of = [_logged_steps(run) for run in (expected, found)]
    if steps_of[0] != steps_of[1]:
        pairs = enumerate(zip(*steps_of, strict=False))
        first = next((number for number, (a, b) in pairs if a != b), "the end")
        wrong.append(f"metrics.jsonl differs from training line {first} on")
    return wrong


def _logged_steps(run: Path) -> list[list[object]]:
    """Return step, loss and the like of every training line."""
    records = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [
        [record["step"], *(record.get(name) for name in _LOGGED)]
        for record in records
        if record["kind"] == "train"
    ]
