"""Options of `gpt2zh verify checkpoint` and `gpt2zh verify resume`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class VerifyCheckpointConfig:
    """Read every byte of a checkpoint and judge it."""

    folder: Path
    """A checkpoint, or the folder of a run: then all of its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class VerifyResumeConfig:
    """Train a segment of a run again, from one checkpoint to a later one, and compare."""

    run: Path
    """Folder of the run. Nothing is written there, and it may be going on."""
    from_step: int | None = None
    """Step of the checkpoint to train from; null takes the newest valid one before the last."""
    to_step: int | None = None
    """Step of the checkpoint to arrive at; null takes the newest valid one."""
    ranks: int | None = None
    """Processes on this machine; null takes as many as the run had. With others the rows must be
    the same and the losses alike, but not every bit."""
    scratch: Path | None = None
    """Folder for what is trained, which is deleted at the end; null takes that beside the run."""
    keep: Path | None = None
    """New folder for what is trained, which is kept."""
