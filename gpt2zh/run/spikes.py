"""Loss spikes: losses far above those of the last steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpt2zh.config.checks import SMALLEST_WINDOW


def z_score(loss: float, recent: Sequence[float]) -> float:
    """How many standard deviations a loss lies above the mean of the recent ones.

    Returns:
        The score; 0 while there are fewer than `SMALLEST_WINDOW`, and for a loss that is not
        finite, which is another fault.
    """
    if len(recent) < SMALLEST_WINDOW or not math.isfinite(loss):
        return 0.0
    mean = math.fsum(recent) / len(recent)
    variance = math.fsum((value - mean) ** 2 for value in recent) / len(recent)
    return (loss - mean) / max(math.sqrt(variance), 1e-6)
