"""The best checkpoint so far: a small file in the run folder, which outlives restarts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt2zh.files.durable import write_whole

BEST = "best.json"


@dataclass(frozen=True)
class Best:
    """The lowest validation loss of a run, and how long ago it was."""

    step: int
    loss: float
    """Nats per token."""
    validations_since: int = 0
    """Validations after it, none of which was lower."""

    def after(self, step: int, loss: float) -> Best:
        """Return the best after one more validation; a loss that is not a number never wins."""
        if loss < self.loss:
            return Best(step, loss)
        return Best(self.step, self.loss, self.validations_since + 1)


def read_best(run: Path, *, step: int) -> Best | None:
    """Return what a run knows of its best checkpoint, for a start at a step.

    None if there is nothing, or if it lies beyond that step: the run goes another way from there.
    """
    try:
        best = Best(**json.loads((run / BEST).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return best if best.step <= step else None


def write_best(run: Path, best: Best) -> None:
    """Write it so that a reader finds the old or the new one."""
    write_whole(run / BEST, json.dumps(asdict(best)) + "\n")
