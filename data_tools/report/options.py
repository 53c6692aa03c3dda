"""Options of the verbs that read shards: `report` and `cat`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Show what became of every byte of the input, and how documents and tokens are spread."""

    shards: Path
    """Folder of shards that `prepare` made."""
    html: Path | None = None
    """File for the page with plots and all tables; SHARDS.report.html next to the folder when
    absent."""


@dataclass(frozen=True, kw_only=True)
class CatConfig:
    """Show a row of tokens as text, with the file and line of each document in it."""

    shards: Path
    """Folder of shards that `prepare` made."""
    row: int
    """Number of the row in its split; the first is 0."""
    split: Literal["train", "validation"] = "train"
    """Split that has the row."""
    ids: bool = False
    """Print the token ids too."""
