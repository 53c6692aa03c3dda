"""When each step ended, without making the GPU wait for the clock.

On a GPU a step ends where the next one's first work begins to queue: an event is recorded there,
and the times between events are read when all is over. The GPU is waited for at the edges of the
window only. On a CPU the clock of the process tells the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch

from gpt2zh.run.telemetry import read_peak_memory
from speed.card import Sampler


class StepClock:
    """Times the steps of one process, which it is told of; made before anything is loaded."""

    def __init__(self, *, warmup: int, steps: int) -> None:
        """Begin before the first step.

        Args:
            warmup: Steps before the window.
            steps: Steps of the window; one more must begin after it.
        """
        self._first, self._last = warmup, warmup + steps
        self._made = time.perf_counter()
        self._begun = 0
        self._marks: list[Any] = []
        self._edges: list[float] = []
        self._ready = 0.0
        self._waited = 0.0
        self._sampler: Sampler | None = None
        self._memory: dict[str, float] = {}
        self._card: dict[str, float] = {}

    def step_begins(self) -> None:
        """Called before a step asks for its rows; the one before has ended."""
        number, self._begun = self._begun, self._begun + 1
        if number == 1:
            self._ready = time.perf_counter() - self._made
        if number == self._first:
            self._sampler = Sampler() if torch.cuda.is_available() else None
            self._edge()
        if self._first <= number <= self._last:
            self._mark()
        if number == self._last:
            self._edge()
            self._leave()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait of the main thread for the rows of a step."""
        begin = time.perf_counter()
        yield
        self.waited(time.perf_counter() - begin)

    def waited(self, seconds: float) -> None:
        """Note a wait for rows; outside of the window it does not count."""
        if self._first < self._begun <= self._last:
            self._waited += seconds

    def figures(self) -> dict[str, Any]:
        """What the window has shown, when it is over."""
        assert len(self._edges) == 2, f"the window did not end: {self._begun} steps began"
        if torch.cuda.is_available():
            pairs = zip(self._marks, self._marks[1:], strict=False)
            seconds = [before.elapsed_time(after) / 1000 for before, after in pairs]
        else:
            seconds = [b - a for a, b in zip(self._marks, self._marks[1:], strict=False)]
        return {
            "step_seconds": seconds,
            "wall_seconds": self._edges[1] - self._edges[0],
            "wait_seconds": self._waited,
            "ready_seconds": self._ready,
            **self._memory,
            "card": self._card,
        }

    def _edge(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._edges.append(time.perf_counter())

    def _mark(self) -> None:
        if torch.cuda.is_available():
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def _leave(self) -> None:
        if self._sampler is not None:
            self._card = self._sampler.stop()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._memory = {"peak_gib": read_peak_memory(device)}
        if device.type == "cuda":
            self._memory["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
