"""The best checkpoint so far, in a small file of the run folder that survives restarts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt2zh.files.durable import write_whole

BEST = "best.json"


@dataclass(frozen=True)
class Best:
    """The lowest validation loss of a run, and its age."""

    step: int
    loss: float
    """Nats per token."""
    validations_since: int = 0
    """Validations after it; none was lower."""

    def after(self, step: int, loss: float) -> Best:
        """Return the best after one more validation; a loss of NaN is never the best."""
        if loss < self.loss:
            return Best(step, loss)
        return Best(self.step, self.loss, self.validations_since + 1)


def read_best(run: Path, *, step: int) -> Best | None:
    """Return the best checkpoint that a run has recorded, for a start at a step.

    None if there is none, or if it lies after that step: the run takes another course from there.
    """
    try:
        best = Best(**json.loads((run / BEST).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return best if best.step <= step else None


def write_best(run: Path, best: Best) -> None:
    """Write the file so that a reader finds the old or the new content."""
    write_whole(run / BEST, json.dumps(asdict(best)) + "\n")
