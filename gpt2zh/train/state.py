"""What a run must remember besides weights, moments and random numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TrainState:
    """Progress of a run; counts only what the weights have seen."""

    step: int = 0
    """Optimizer steps done."""
    rows: int = 0
    """Rows consumed over all ranks and epochs; with the seed it is the position in the data."""
    tokens: int = 0
    """Tokens consumed over all ranks and epochs."""
