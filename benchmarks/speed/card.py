"""What the device is, what it can do at most, and how it runs meanwhile."""

from __future__ import annotations

import contextlib
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

_FIELDS = {"clock_mhz": "clocks.sm", "watt": "power.draw", "celsius": "temperature.gpu"}


class Sampler:
    """Asks nvidia-smi once a second beside the steps; tells nothing where there is none."""

    def __init__(self) -> None:
        """Begin to ask about the GPU that torch uses."""
        self._process: subprocess.Popen[str] | None = None
        uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
        command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS.values())}", "--loop=1"]
        command += ["--format=csv,noheader,nounits", *([f"--id=GPU-{uuid}"] if uuid else [])]
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

    def stop(self) -> dict[str, float]:
        """The medians of what it said."""
        if self._process is None:
            return {}
        self._process.terminate()
        lines, _ = self._process.communicate()
        return parse_samples(lines)


def parse_samples(lines: str) -> dict[str, float]:
    """The medians of nvidia-smi's lines; a figure that a card does not tell is left out."""
    found: dict[str, list[float]] = {name: [] for name in _FIELDS}
    for line in lines.splitlines():
        for name, text in zip(_FIELDS, line.split(","), strict=False):
            with contextlib.suppress(ValueError):
                found[name].append(float(text))
    return {name: statistics.median(values) for name, values in found.items() if values}


def matrix_product(*, on_gpu: bool) -> dict[str, Any]:
    """The best rate of a large matrix product: what the device reaches in practice.

    Returns:
        Side and type of the square matrices, and FLOP/s.
    """
    side, dtype = (8192, torch.bfloat16) if on_gpu else (1024, torch.float32)
    device = torch.device("cuda" if on_gpu else "cpu")
    left = torch.randn(side, side, dtype=dtype, device=device)
    right = torch.randn(side, side, dtype=dtype, device=device)
    best = min(_seconds(left, right, on_gpu=on_gpu) for _ in range(30 if on_gpu else 10))
    name = str(dtype).removeprefix("torch.")
    return {"side": side, "dtype": name, "flops": 2 * side**3 / best}


def _seconds(left: torch.Tensor, right: torch.Tensor, *, on_gpu: bool) -> float:
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


def device_name(*, on_gpu: bool) -> str:
    """The GPU's name, or the processor's."""
    if on_gpu:
        return torch.cuda.get_device_name(0)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
