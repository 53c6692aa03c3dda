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

from gpt2zh.run.telemetry import read_peak_memory

_CARD = {"clock_mhz": "clocks.sm", "watt": "power.draw", "celsius": "temperature.gpu"}


class StepClock:
    """Times the steps of one process; made before anything is loaded."""

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
        self._ready = self._waited = 0.0
        self._sampler: subprocess.Popen[str] | None = None
        self._state: dict[str, Any] = {}

    def step_begins(self) -> None:
        """Note that a step asks for its rows; the step before has ended."""
        number, self._begun = self._begun, self._begun + 1
        if number == 1:
            self._ready = time.perf_counter() - self._made
        if number == self._first:
            self._sampler = sample_card() if torch.cuda.is_available() else None
            self._edge()
        if self._first <= number <= self._last:
            self._marks.append(_mark())
        if number == self._last:
            self._edge()
            self._state = {"card": self._card(), **_memory()}

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
        return {
            "step_seconds": [_seconds(before, after) for before, after in pairs],
            "wall_seconds": self._edges[1] - self._edges[0],
            "wait_seconds": self._waited,
            "ready_seconds": self._ready,
            **self._state,
        }

    def _edge(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._edges.append(time.perf_counter())

    def _card(self) -> dict[str, float]:
        if self._sampler is None:
            return {}
        self._sampler.terminate()
        return parse_samples(self._sampler.communicate()[0])


def sample_card() -> subprocess.Popen[str] | None:
    """Let nvidia-smi print the state of our GPU once a second; None if there is no nvidia-smi."""
    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    command = ["nvidia-smi", f"--query-gpu={','.join(_CARD.values())}", "--loop=1"]
    command += ["--format=csv,noheader,nounits", *([f"--id=GPU-{uuid}"] if uuid else [])]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with contextlib.suppress(OSError):
        return subprocess.Popen(command, stdout=pipe, stderr=quiet, text=True)
    return None


def parse_samples(lines: str) -> dict[str, float]:
    """Return the medians of nvidia-smi's lines, without figures that the card does not report."""
    found: dict[str, list[float]] = {name: [] for name in _CARD}
    for line in lines.splitlines():
        for name, text in zip(_CARD, line.split(","), strict=False):
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
    seconds = []
    for _ in range(30 if on_gpu else 10):
        begun = _mark()
        left @ right
        ended = _mark()
        if on_gpu:
            ended.synchronize()
        seconds.append(_seconds(begun, ended))
    name = str(dtype).removeprefix("torch.")
    return {"side": side, "dtype": name, "flops": 2 * side**3 / min(seconds)}


def _mark() -> Any:
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(before: Any, after: Any) -> float:
    return after - before if isinstance(after, float) else before.elapsed_time(after) / 1000


def _memory() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {"peak_gib": read_peak_memory(torch.device("cpu"))}
    reserved = torch.cuda.max_memory_reserved() / 2**30
    return {"peak_gib": read_peak_memory(torch.device("cuda")), "reserved_gib": reserved}
