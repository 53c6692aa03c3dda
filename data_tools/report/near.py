"""The near duplicates that were dropped: how similar they are, and the least similar ones.

If the threshold is too low for a corpus, the least similar ones show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data_tools.shards.near_table import near_duplicates, read_near_columns
from gpt2zh.data.manifest import Manifest
from gpt2zh.pages.numbers import count

HEAD = ("similarity", "dropped", "stays")
_MOST = 100  # examples


@dataclass(frozen=True)
class NearSummary:
    """All near duplicates of a folder of shards in a few lines."""

    documents: int
    smallest: float
    """Similarity of the least similar ones."""
    median: float
    examples: Sequence[Sequence[str]]
    """Similarity, file and line of the dropped document, and of the one that stays; the least
    similar ones, rising."""

    @property
    def text(self) -> str:
        """Return the figures in one sentence."""
        if not self.documents:
            return "none was dropped"
        return (
            f"{count(self.documents)} dropped, with a similarity of {self.smallest:.3f} at least "
            f"and {self.median:.3f} in the middle"
        )


def read_near(folder: Path, manifest: Manifest, root: PurePosixPath) -> NearSummary | None:
    """Sum up the near duplicates of a folder of shards; None if they were not searched.

    Raises:
        UserError: A table is missing or damaged.
    """
    columns = read_near_columns(folder, manifest)
    if columns is None:
        return None
    similarity = columns[4]
    if not len(similarity):
        return NearSummary(0, 0.0, 0.0, ())
    least = np.argsort(similarity, kind="stable")[:_MOST]

    def place(path: str, line: int) -> str:
        name = PurePosixPath(path).relative_to(root) if root.parts else path
        return f"{name}:{line}"

    examples = [
        (one.measure, place(one.path, one.line), place(one.like_path, one.like_line))
        for one in near_duplicates(manifest, columns, least)
    ]
    return NearSummary(
        len(similarity), float(similarity.min()), float(np.median(similarity)), examples
    )
