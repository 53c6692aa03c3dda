"""The files in which a run records its figures: metrics.jsonl, TensorBoard and rows.u64."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from gpt2zh.files.durable import write_whole
from gpt2zh.files.owners import explain_unwritable

METRICS = "metrics.jsonl"
ROWS = "rows.u64"
TENSORBOARD = "tensorboard"


class RunLog:
    """Writes the figures of a run; only the main rank has one."""

    def __init__(self, run: Path, *, resumed_at: int) -> None:
        """Open the files of a run folder.

        Figures of steps after `resumed_at` are dropped: a killed run logged but did not save these
        steps, so they will be trained again.
        """
        self._folder = str(run / TENSORBOARD)
        self._metrics: TextIO | None = None
        self._board: SummaryWriter | None = None
        self.faults: list[str] = []
        """Why a file cannot be written, one sentence each; the other one is written."""
        path = run / METRICS
        try:
            _keep_until(path, resumed_at)
            self._metrics = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            self.faults.append(explain_unwritable(error, path))
        try:
            _try_to_write(Path(self._folder))
            self._board = SummaryWriter(self._folder, purge_step=resumed_at + 1)
        except OSError as error:
            self.faults.append(explain_unwritable(error, Path(self._folder)))
        self._has_board = self._board is not None

    def scalars(self, step: int, kind: str, values: dict[str, float | None], *, chain: str) -> None:
        """Write the figures of one step, except None values.

        Args:
            step: Optimizer steps done.
            kind: `train` or `validation`; the group in TensorBoard.
            values: Figures by name.
            chain: Hash chain of the rows up to this step.
        """
        known = {name: value for name, value in values.items() if value is not None}
        # JSON has no infinity, but the gradient norm of a skipped fp16 step is infinite.
        finite = {n: value if math.isfinite(value) else None for n, value in known.items()}
        line = {"step": step, "kind": kind, **finite, "chain": chain}
        self._write(json.dumps(line, allow_nan=False))
        with self._on_board() as board:
            if board is not None:
                for name, value in known.items():
                    board.add_scalar(f"{kind}/{name}", value, step)

    def event(self, step: int, kind: str, facts: dict[str, Any], *, chain: str) -> None:
        """Write an event of one step with the chain of its rows, and flush it to disk at once."""
        line = {"step": step, "kind": kind, **facts, "chain": chain}
        self._write(json.dumps(line, ensure_ascii=False))
        self.flush()

    def samples(self, step: int, texts: dict[str, str], *, chain: str) -> None:
        """Write the continuation of each fixed prompt, after the rows of a chain."""
        line = {"step": step, "kind": "samples", "texts": texts, "chain": chain}
        self._write(json.dumps(line, ensure_ascii=False))
        with self._on_board() as board:
            if board is not None:
                for prompt, text in texts.items():
                    board.add_text(f"samples/{prompt}", f"**{prompt}**{text}", step)

    def flush(self) -> None:
        """Flush everything to disk, so that a killed run loses no figures."""
        if self._metrics is not None:
            self._metrics.flush()
            os.fsync(self._metrics.fileno())
        with self._on_board() as board:
            if board is not None:
                board.flush()

    def close(self) -> None:
        """Close the files; figures that a full disk cannot hold are lost."""
        if self._metrics is not None:
            with contextlib.suppress(OSError):
                self._metrics.close()
        with contextlib.suppress(OSError), self._on_board() as board:
            if board is not None:
                board.close()

    def _write(self, line: str) -> None:
        """Add a line to metrics.jsonl."""
        if self._metrics is not None:
            self._metrics.write(line + "\n")

    @contextlib.contextmanager
    def _on_board(self) -> Iterator[SummaryWriter | None]:
        """Yield TensorBoard's writer; a new one after an error, which ends its thread for good.

        None if it could not be opened at the start.
        """
        if self._board is None and self._has_board:
            self._board = SummaryWriter(self._folder)
        try:
            yield self._board
        except OSError:
            self._board = None
            raise


class RowLog:
    """The numbers of all rows read, in order, as a file of little-endian 64-bit integers."""

    def __init__(self, run: Path, *, rows: int) -> None:
        """Open `rows.u64` of a run folder, truncated to the rows consumed so far.

        Args:
            run: The run folder.
            rows: Rows consumed so far; those missing in the file are filled with 2**64 - 1.
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
        """Add the rows of one step, (global batch,); a failed write leaves a gap."""
        self._file.seek(8 * self._rows)
        self._rows += len(numbers)
        self._file.write(numbers.astype("<i8").tobytes())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Clock:
    """Measures the seconds of training, without other work."""

    def __init__(self) -> None:
        """Start measuring now."""
        self._start = time.perf_counter()
        self._paused = 0.0

    def exclude(self, seconds: float) -> None:
        """Do not count these seconds of other work, such as saving or validation."""
        self._paused += seconds

    def read(self) -> float:
        """Return the seconds of training since the last call."""
        now = time.perf_counter()
        elapsed = now - self._start - self._paused
        self._start, self._paused = now, 0.0
        return max(elapsed, 1e-9)


def read_peak_memory(device: torch.device) -> float:
    """Return the peak memory of this process so far in GiB: of the GPU, or of the host on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _try_to_write(folder: Path) -> None:
    """Raise an OSError if no file can be made in a folder; TensorBoard's thread would print it."""
    folder.mkdir(exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _keep_until(path: Path, step: int) -> None:
    """Rewrite metrics.jsonl without records after `step` and without a half-written last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        record = _step_of(line)
        if record is not None and record <= step:
            kept.append(line + "\n")
    write_whole(path, "".join(kept))


def _step_of(line: str) -> int | None:
    """Return the step of a record; None if the line is not a record."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None
