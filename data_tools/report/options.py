"""Options of `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Show what became of every byte of the input, and how documents and tokens are spread."""

    shards: Path
    """Folder of shards that `prepare` made."""
    html: Path | None = None
    """File for the page with plots and all tables; SHARDS.report.html next to the folder when
    absent."""
