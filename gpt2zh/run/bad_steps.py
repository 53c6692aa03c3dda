"""What is known of a step with bad numbers: its rows, their text, and where that text is from."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.train.loop import Batches
from gpt2zh.train.step import StepResult

FOLDER = "bad-steps"


@dataclass(frozen=True)
class BadStep:
    """One step whose numbers were bad; the same on every rank."""

    step: int
    """Its number."""
    fault: str
    """`loss` or `gradient` for one that is not finite, `spike`."""
    again: str
    """What became of it when it was taken once more: `good`, or a fault."""
    rows: tuple[int, ...]
    """The rows of the micro-batches with the fault; all of the step's when the loss of none
    shows it."""

    @property
    def verdict(self) -> str:
        """Who is to blame, for a reader."""
        if self.again == "good":
            return "good when it was taken again: some hardware erred, the step counts"
        return "bad again with the same rows and random numbers: the weights were left as they were"

    @property
    def ledger(self) -> dict[str, Any]:
        """As metrics.jsonl and checkpoints hold it."""
        return asdict(self) | {"rows": list(self.rows)}


def find_suspects(batches: Batches, first: StepResult) -> list[int]:
    """Row numbers of this rank's micro-batches whose loss is not finite."""
    losses = [nats.item() for nats in first.nats]
    return [
        int(number)
        for batch, loss in zip(batches, losses, strict=True)
        if not math.isfinite(loss)
        for number in batch.numbers
    ]


def write(bad: BadStep, plan: RunPlan) -> Path:
    """Write a bad step with the text of its rows to a new file of the run folder.

    Returns:
        The file, which `--skip-rows` takes.

    Raises:
        OSError: It cannot be written.
    """
    folder = plan.config.output / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{bad.step}.json"
    content = bad.ledger | {
        "verdict": bad.verdict,
        "rows": [plan.data.describe_row(number) for number in bad.rows],
    }
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return path
