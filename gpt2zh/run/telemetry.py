"""What a run tells: one console line, metrics.jsonl and TensorBoard with equal figures."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.jsonl"
ROWS = "rows.u64"
TENSORBOARD = "tensorboard"


class RunLog:
    """Writes the figures of a run; only the main rank has one."""

    def __init__(self, run: Path, *, resumed_at: int) -> None:
        """Open the files of a run folder.

        Figures of steps after `resumed_at`, which a killed run had logged but not saved, are
        dropped: those steps will be trained again.
        """
        path = run / METRICS
        _keep_until(path, resumed_at)
        self._metrics = path.open("a", encoding="utf-8", buffering=1)
        self._folder = str(run / TENSORBOARD)
        self._board: SummaryWriter | None = SummaryWriter(self._folder, purge_step=resumed_at + 1)

    def scalars(self, step: int, kind: str, values: dict[str, float | None], *, chain: str) -> None:
        """Write numbers of one step; None values are left out.

        Args:
            step: Optimizer steps done.
            kind: `train` or `validation`; the group in TensorBoard.
            values: Figures by name.
            chain: Hash chain of the rows up to here.
        """
        known = {name: value for name, value in values.items() if value is not None}
        # JSON has no infinity, which the gradient norm of a skipped fp16 step is.
        finite = {n: value if math.isfinite(value) else None for n, value in known.items()}
        line = {"step": step, "kind": kind, **finite, "chain": chain}
        self._metrics.write(json.dumps(line, allow_nan=False) + "\n")
        with self._on_board() as board:
            for name, value in known.items():
                board.add_scalar(f"{kind}/{name}", value, step)

    def event(self, step: int, kind: str, facts: dict[str, Any], *, chain: str) -> None:
        """Write what happened in one step and the chain of its rows, at once to the disk."""
        line = {"step": step, "kind": kind, **facts, "chain": chain}
        self._metrics.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.flush()

    def samples(self, step: int, texts: dict[str, str], *, chain: str) -> None:
        """Write what the model makes of each fixed prompt after the rows of a chain."""
        line = {"step": step, "kind": "samples", "texts": texts, "chain": chain}
        self._metrics.write(json.dumps(line, ensure_ascii=False) + "\n")
        with self._on_board() as board:
            for prompt, text in texts.items():
                board.add_text(f"samples/{prompt}", f"**{prompt}**{text}", step)

    def flush(self) -> None:
        """Bring everything to disk, so that a killed run has lost no figures."""
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        with self._on_board() as board:
            board.flush()

    def close(self) -> None:
        """Close the files; what a full disk does not take is lost."""
        with contextlib.suppress(OSError):
            self._metrics.close()
        with contextlib.suppress(OSError), self._on_board() as board:
            board.close()

    @contextlib.contextmanager
    def _on_board(self) -> Iterator[SummaryWriter]:
        """TensorBoard's writer; a new one after an error, for that ends its thread for good."""
        if self._board is None:
            self._board = SummaryWriter(self._folder)
        try:
            yield self._board
        except OSError:
            self._board = None
            raise


class RowLog:
    """The number of every row that was read, in order, as a file of 64-bit integers."""

    def __init__(self, run: Path, *, rows: int) -> None:
        """Open `rows.u64` of a run folder, cut to the rows that the weights have seen.

        Args:
            run: The run folder.
            rows: Rows consumed before; those that the file lacks are written as the highest number.
        """
        path = run / ROWS
        path.touch()
        self._file = path.open("r+b", buffering=0)
        known = min(rows, path.stat().st_size // 8)
        self._file.truncate(known * 8)
        self._file.seek(0, os.SEEK_END)
        self._file.write(np.full(rows - known, -1, "<i8").tobytes())
        self._rows = rows

    def write(self, numbers: np.ndarray) -> None:
        """Add the rows of one more step, (global batch,); those that could not be are a hole."""
        self._file.seek(8 * self._rows)
        self._rows += len(numbers)
        self._file.write(numbers.astype("<i8").tobytes())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Clock:
    """Seconds of training since the last reading, without what was not training."""

    def __init__(self) -> None:
        """Start now."""
        self._start = time.perf_counter()
        self._paused = 0.0

    def exclude(self, seconds: float) -> None:
        """Do not count these seconds: saving, validation."""
        self._paused += seconds

    def read(self) -> float:
        """Seconds of training since the last call."""
        now = time.perf_counter()
        elapsed = now - self._start - self._paused
        self._start, self._paused = now, 0.0
        return max(elapsed, 1e-9)


def read_peak_memory(device: torch.device) -> float:
    """The largest memory this process has used so far in GiB: the GPU's, or the host's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _keep_until(path: Path, step: int) -> None:
    """Rewrite metrics.jsonl without records after `step` and without a half-written last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        record = _step_of(line)
        if record is not None and record <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write("".join(kept))
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave neither the old nor the new figures
    temporary.replace(path)


def _step_of(line: str) -> int | None:
    """The step of a record; None for a line that is no record."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None
