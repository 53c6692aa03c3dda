"""When each step ends, without making the GPU wait for the clock.

On a GPU a step ends where the first work of the next one is queued: an event is recorded there, and
the times between events are read after the last step. On a CPU the clock of the process is read.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from gpt2zh.run.telemetry import read_peak_memory


class StepClock:
    """Times the steps of one process."""

    def __init__(self, *, warmup: int, steps: int) -> None:
        """Take the steps before the window and those in it; one more must begin after it."""
        self._first, self._last = warmup, warmup + steps
        self._begun = 0
        self._marks: list[Any] = []

    def step_begins(self) -> None:
        """Note that a step asks for its rows; the step before has ended."""
        if self._first <= self._begun <= self._last:
            self._marks.append(_mark())
        self._begun += 1

    def figures(self, device: torch.device) -> dict[str, Any]:
        """Return the figures of the window, when it is over."""
        assert self._begun > self._last, f"the window did not end: {self._begun} steps began"
        pairs = zip(self._marks, self._marks[1:], strict=False)
        seconds = [_seconds(before, after) for before, after in pairs]
        return {"step_seconds": seconds, "peak_gib": read_peak_memory(device)}


def _mark() -> Any:
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(before: Any, after: Any) -> float:
    if isinstance(after, float):
        return float(after - before)
    after.synchronize()
    return float(before.elapsed_time(after)) / 1000
