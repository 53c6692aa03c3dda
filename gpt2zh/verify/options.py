"""Options of `gpt2zh verify checkpoint` and `gpt2zh verify resume`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class VerifyCheckpointConfig:
    """Read every byte of a checkpoint and check it."""

    folder: Path
    """A checkpoint, or the folder of a run: then all of its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class VerifyResumeConfig:
    """Train part of a run again, from one checkpoint to a later one, and compare."""

    run: Path
    """Folder of the run. Nothing is written there, and the run may still be training."""
    from_step: int | None = None
    """Step of the checkpoint to train from; null means the newest valid one before `to_step`."""
    to_step: int | None = None
    """Step of the checkpoint to train to; null means the newest valid one."""
    ranks: int | None = None
    """Processes on this machine; null means as many as the run had. With another number the rows
    must be the same and the losses similar, but not every bit."""
    scratch: Path | None = None
    """Folder in which a temporary run is made and deleted; null means the run's parent folder."""
    keep: Path | None = None
    """New folder in which the second training is kept."""
