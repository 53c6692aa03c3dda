"""Options of `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Say where every byte of the input went, and how the documents and tokens are spread."""

    shards: Path
    """Folder that prepare made."""
    html: Path | None = None
    """Page with plots and all tables; SHARDS.report.html beside the folder when absent."""
