"""How long documents are in tokens, counted exactly from the tables of documents.

Only distinct lengths and their counts are held, so any number of documents fits in memory.
Shapes: `k` distinct lengths, `b` bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from pathlib import Path

import numpy as np

from data_tools.report.groups import Group
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.data.documents import read_columns
from gpt2zh.data.manifest import KEPT, Count, Manifest

_COLUMNS = ("source", "characters", "tokens", "validation")


@dataclass(frozen=True)
class Lengths:
    """Distinct lengths, and how many documents have each."""

    tokens: np.ndarray
    """(k,) int64, rising."""
    documents: np.ndarray
    """(k,) int64."""

    @cached_property
    def total(self) -> int:
        """Number of documents of any length."""
        return int(self.documents.sum())

    def quantile(self, share: float) -> int:
        """Return the smallest length that this share of the documents, or more, does not exceed."""
        assert self.total
        rank = max(1, -int(-share * self.total // 1))  # rounded up
        return int(self.tokens[np.searchsorted(np.cumsum(self.documents), rank)])

    def binned(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return documents and tokens by bin, (b,) each.

        Args:
            edges: (b + 1,), rising; a bin holds the lengths from its edge to below the next.
        """
        bins = np.searchsorted(edges, self.tokens, side="right") - 1
        documents = np.zeros(len(edges) - 1, np.int64)
        tokens = np.zeros(len(edges) - 1, np.int64)
        np.add.at(documents, bins, self.documents)
        np.add.at(tokens, bins, self.documents * self.tokens)
        return documents, tokens


def log_edges(longest: int) -> np.ndarray:
    """Return edges of bins, two to each doubling, from 0 to beyond `longest`, (b + 1,) int64."""
    edges = [0, 1]
    power = 1
    while edges[-1] <= longest:
        edge = isqrt(2**power - 1) + 1  # the root of 2 ** power, rounded up
        power += 1
        if edge > edges[-1]:
            edges.append(edge)
    return np.array(edges, np.int64)


def joined(parts: Sequence[Lengths]) -> Lengths:
    """Return several counts added up."""
    empty = np.empty(0, np.int64)
    tokens = np.concatenate([empty, *(part.tokens for part in parts)])
    documents = np.concatenate([empty, *(part.documents for part in parts)])
    distinct, place = np.unique(tokens, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, place.reshape(-1), documents)
    return Lengths(distinct, sums)


def read_lengths(
    folder: Path, manifest: Manifest, groups: Sequence[Group]
) -> tuple[list[Lengths], list[Lengths]]:
    """Count the lengths in all tables of documents.

    Args:
        folder: The shards.
        manifest: The manifest of the shards.
        groups: All sources, each in one group.

    Returns:
        The lengths of the training documents of each group, and of the held-out ones.

    Raises:
        UserError: A table is damaged or contradicts the ledger.
    """
    group_of = np.zeros(len(manifest.sources), np.int64)
    for number, group in enumerate(groups):
        group_of[list(group.numbers)] = number
    sums = np.zeros((3, len(manifest.sources)), np.int64)  # documents, characters, tokens
    parts: list[list[Lengths]] = [[] for _ in range(2 * len(groups))]
    for unit in manifest.units:
        columns = read_columns(folder / unit.documents.file, _COLUMNS)
        source = columns["source"]
        if len(source) and not 0 <= source.min() <= source.max() < len(manifest.sources):
            raise UserError(
                f"{folder / unit.documents.file} names source {source.max()}, but the manifest "
                f"has {len(manifest.sources)}; prepare the shards again or copy them again"
            )
        for row, weights in enumerate((None, columns["characters"], columns["tokens"])):
            counts = np.bincount(source, weights, minlength=len(manifest.sources))
            sums[row] += counts.astype(np.int64)  # exact: far below 2 ** 53 in a unit
        keys = 2 * group_of[source] + columns["validation"]
        for key in np.unique(keys).tolist():
            tokens, documents = np.unique(columns["tokens"][keys == key], return_counts=True)
            parts[key].append(Lengths(tokens.astype(np.int64), documents))
    raise_all(_disagreements(manifest, sums), f"{folder}: tables of documents and manifest.json")
    whole = [joined(part) for part in parts]
    return whole[::2], whole[1::2]


def _disagreements(manifest: Manifest, sums: np.ndarray) -> list[str]:
    """Compare the tables with the ledger, source by source."""
    faults = []
    for number, source in enumerate(manifest.sources):
        kept = source.fates.get(KEPT, Count()).documents
        said = (kept, source.characters, source.tokens)
        found = tuple(sums[:, number].tolist())
        if said != found:
            faults.append(
                f"{source.path}: documents, characters and tokens are {said} in the manifest, but "
                f"{found} in the tables; copy the folder again or prepare the shards again"
            )
    return faults
