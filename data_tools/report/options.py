"""What the verbs can be told that look at shards: `report` and `cat`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Say where every byte of the input went, and how the documents and tokens are spread."""

    shards: Path
    """Folder that prepare made."""
    html: Path | None = None
    """Page with plots and all tables; SHARDS.report.html beside the folder when absent."""


@dataclass(frozen=True, kw_only=True)
class CatConfig:
    """Show a row of tokens as text, and where each document in it comes from."""

    shards: Path
    """Folder that prepare made."""
    row: int
    """Number of the row in its split, from 0."""
    split: Literal["train", "validation"] = "train"
    """Part of the rows."""
    ids: bool = False
    """Print the token ids too."""
