"""The validation losses of a run, in a small file of the run folder that survives restarts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.files.durable import write_whole

BEST = "best.json"


@dataclass(frozen=True)
class History:
    """The validations of a run so far: which was the best, and how long ago."""

    losses: tuple[tuple[int, float], ...] = ()
    """Step and loss in nats per token, in the order of the steps."""

    @property
    def improvements(self) -> list[tuple[int, float]]:
        """Step and loss of each validation that was better than all before it; NaN never is."""
        found: list[tuple[int, float]] = []
        for step, loss in self.losses:
            if not math.isnan(loss) and (not found or loss < found[-1][1]):
                found.append((step, loss))
        return found

    @property
    def since_best(self) -> int:
        """Number of validations after the best one."""
        best = self.improvements[-1][0] if self.improvements else -1
        return sum(step > best for step, _ in self.losses)

    def after(self, step: int, loss: float) -> History:
        """Return the history with one more validation."""
        return History((*self.losses, (step, loss)))


def read_history(run: Path, *, step: int) -> History:
    """Return the validations that a run has recorded up to the step at which it starts.

    What lies after that step is left out: the run takes this way again, or another one.
    """
    try:
        saved = json.loads((run / BEST).read_text("utf-8"))["validations"]
        losses = [(int(at), math.nan if loss is None else float(loss)) for at, loss in saved]
    except (OSError, ValueError, TypeError, KeyError):
        return History()
    return History(tuple((at, loss) for at, loss in losses if at <= step))


def write_history(run: Path, history: History) -> None:
    """Write the file so that a reader finds the old or the new content."""
    best = history.improvements[-1] if history.improvements else (None, None)
    losses = [(step, None if math.isnan(loss) else loss) for step, loss in history.losses]
    table = {"step": best[0], "loss": best[1], "validations": losses}
    write_whole(run / BEST, json.dumps(table) + "\n")
