"""Steps with bad numbers: their rows, the text of these rows, and its source."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2zh.files.durable import write_whole
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.train.loop import Batches
from gpt2zh.train.step import StepResult

FOLDER = "bad-steps"


@dataclass(frozen=True)
class BadStep:
    """One step whose numbers were bad; the same on every rank."""

    step: int
    fault: str
    """`loss` or `gradient` if that is not finite; `spike`."""
    again: str
    """Result of the second attempt: `good`, or a fault."""
    rows: tuple[int, ...]
    """The rows of the micro-batches with the fault; all rows of the step if no loss shows it."""

    @property
    def verdict(self) -> str:
        """What the fault means, for a reader."""
        if self.again == "good":
            return "the second attempt was good: a hardware error; the step counts"
        return "bad again with the same rows and random numbers; the weights are unchanged"

    @property
    def record(self) -> dict[str, Any]:
        """The fields, as metrics.jsonl and checkpoints hold them."""
        return asdict(self) | {"rows": list(self.rows)}


def find_suspects(batches: Batches, first: StepResult) -> list[int]:
    """Return the row numbers of this rank's micro-batches whose loss is not finite."""
    losses = [nats.item() for nats in first.nats]
    return [
        int(number)
        for batch, loss in zip(batches, losses, strict=True)
        if not math.isfinite(loss)
        for number in batch.numbers
    ]


def write(bad: BadStep, plan: RunPlan) -> Path:
    """Write a bad step with the text of its rows to a new file in the run folder.

    Returns:
        The file, which `--skip-rows` accepts.

    Raises:
        OSError: It cannot be written.
    """
    folder = plan.config.output / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{bad.step}.json"
    content = bad.record | {
        "verdict": bad.verdict,
        "rows": [plan.data.describe_row(number) for number in bad.rows],
    }
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return path
