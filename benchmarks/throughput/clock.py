"""When each step ends, without making the GPU wait for the clock; and the state of the card.

On a GPU a step ends where the first work of the next one is queued: an event is recorded there, and
the times between events are read after the last step. The GPU is waited for at the edges of the
window only. On a CPU the clock of the process is read.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import torch

from gpt2zh.train.telemetry import peak_memory

_FIELDS = {"clock_mhz": "clocks.sm", "watt": "power.draw", "celsius": "temperature.gpu"}


class StepClock:
    """Times the steps of one process; made before anything is loaded."""

    def __init__(self, *, warmup: int, steps: int) -> None:
        """Begin before the first step.

        Args:
            warmup: Steps before the window.
            steps: Steps of the window; one more must begin after it.
        """
        self._first, self._last = warmup, warmup + steps
        self._on_gpu = torch.cuda.is_available()
        self._made = time.perf_counter()
        self._begun = 0
        self._marks: list[Any] = []
        self._edges: list[float] = []
        self._ready = self._waited = 0.0
        self._sampler: subprocess.Popen[str] | None = None
        self._state: dict[str, Any] = {}

    def step_begins(self) -> None:
        """Note that a step asks for its rows; the step before has ended."""
        number, self._begun = self._begun, self._begun + 1
        if number == 1:
            self._ready = time.perf_counter() - self._made
        if number == self._first:
            self._sampler = sample_card() if self._on_gpu else None
            self._edge()
        if self._first <= number <= self._last:
            self._mark()
        if number == self._last:
            self._edge()
            self._leave()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time a wait of the main thread for the rows of a step."""
        begin = time.perf_counter()
        yield
        self.waited(time.perf_counter() - begin)

    def waited(self, seconds: float) -> None:
        """Note a wait for rows; outside of the window it does not count."""
        if self._first < self._begun <= self._last:
            self._waited += seconds

    def figures(self) -> dict[str, Any]:
        """Return the figures of the window, when it is over."""
        assert len(self._edges) == 2, f"the window did not end: {self._begun} steps began"
        pairs = zip(self._marks, self._marks[1:], strict=False)
        if self._on_gpu:
            seconds = [before.elapsed_time(after) / 1000 for before, after in pairs]
        else:
            seconds = [after - before for before, after in pairs]
        return {
            "step_seconds": seconds,
            "wall_seconds": self._edges[1] - self._edges[0],
            "wait_seconds": self._waited,
            "ready_seconds": self._ready,
            **self._state,
        }

    def _edge(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()
        self._edges.append(time.perf_counter())

    def _mark(self) -> None:
        if self._on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def _leave(self) -> None:
        card: dict[str, float] = {}
        if self._sampler is not None:
            self._sampler.terminate()
            card = parse_samples(self._sampler.communicate()[0])
        device = torch.device("cuda" if self._on_gpu else "cpu")
        self._state = {"card": card, "peak_gib": peak_memory(device)}
        if self._on_gpu:
            self._state["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30


def sample_card() -> subprocess.Popen[str] | None:
    """Let nvidia-smi print the state of our GPU once a second; None if there is no nvidia-smi."""
    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS.values())}", "--loop=1"]
    command += ["--format=csv,noheader,nounits", *([f"--id=GPU-{uuid}"] if uuid else [])]
    quiet = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True)
    return None


def parse_samples(lines: str) -> dict[str, float]:
    """Return the medians of nvidia-smi's lines, without figures that the card does not report."""
    found: dict[str, list[float]] = {name: [] for name in _FIELDS}
    for line in lines.splitlines():
        for name, text in zip(_FIELDS, line.split(","), strict=False):
            with contextlib.suppress(ValueError):
                found[name].append(float(text))
    return {name: statistics.median(values) for name, values in found.items() if values}


def matrix_product(*, on_gpu: bool) -> dict[str, Any]:
    """Return the best rate of a large matrix product: what the device reaches in practice.

    Returns:
        `side` and `dtype` of the square matrices, and `flops` per second.
    """
    side, dtype = (8192, torch.bfloat16) if on_gpu else (1024, torch.float32)
    device = torch.device("cuda" if on_gpu else "cpu")
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    best = min(_product_seconds(left, right, on_gpu=on_gpu) for _ in range(30 if on_gpu else 10))
    name = str(dtype).removeprefix("torch.")
    return {"side": side, "dtype": name, "flops": 2 * side**3 / best}


def _product_seconds(left: torch.Tensor, right: torch.Tensor, *, on_gpu: bool) -> float:
    if not on_gpu:
        begin = time.perf_counter()
        left @ right
        return time.perf_counter() - begin
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    left @ right
    ended.record()
    ended.synchronize()
    return begun.elapsed_time(ended) / 1000
