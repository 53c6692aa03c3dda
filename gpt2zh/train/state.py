"""What a run must remember besides weights and moments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpt2zh.data import chain


@dataclass
class TrainState:
    """Progress of a run; counts only what the weights have seen."""

    step: int = 0
    """Optimizer steps done, those that were skipped included."""
    rows: int = 0
    """Rows consumed over all ranks and epochs; with the seed it is the position in the data."""
    tokens: int = 0
    """Tokens consumed over all ranks and epochs."""
    chain: str = chain.START
    """Hash chain of the consumed row numbers, see `data.chain`."""
    bad_streak: int = 0
    """Steps without an update of the weights, up to the last one, for their bad numbers."""
    incidents: list[dict[str, Any]] = field(default_factory=list)
    """Every step with bad numbers: what was bad and what became of it."""
    recent: list[float] = field(default_factory=list)
    """Losses of the last steps, against which a spike is measured; empty when none are looked
    for."""

    def advance(self, numbers: np.ndarray, *, tokens: int) -> None:
        """Count one more step.

        Args:
            numbers: Row numbers of the step over all ranks, (global batch,).
            tokens: Tokens in them.
        """
        self.step += 1
        self.rows += len(numbers)
        self.tokens += tokens
        self.chain = chain.extend(self.chain, numbers)
