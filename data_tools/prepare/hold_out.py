"""Hold out parts of documents so that no text of one split is also in the other one.

A document that is cut into blocks is in both splits. So a document is not cut if another one that
stays may nearly equal it, where such copies are looked for, or if the shards that are appended to
hold it already: as a whole it becomes training text. And a copy of a document of these shards is
not added to the other split.

Shapes: `documents` of all units.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_tools.clean.near import band_shape, find_clusters
from data_tools.prepare.blocks import BlockRule, choose_rule
from data_tools.prepare.compared import ComparedUnit, find_old, join_columns, make_corpus
from data_tools.prepare.plan import PreparePlan


def choose_blocks(
    plan: PreparePlan, compared: Sequence[ComparedUnit], stays: np.ndarray, scratch: Path
) -> tuple[BlockRule | None, np.ndarray]:
    """Return which blocks are held out, if whole documents leave one of the splits empty.

    Args:
        plan: With the wanted share.
        compared: All units.
        stays: (documents,) bool.
        scratch: Folder for large files while documents are compared.

    Returns:
        The rule, None if whole documents are held out; and the documents that stay but must not be
        cut, (documents,) bool.
    """
    if not plan.config.validation_fraction or not len(stays):
        return None, np.zeros(len(stays), bool)
    is_full = plan.config.packing == "full"
    length = plan.config.row_length - (1 if is_full else 2)
    sizes = join_columns(compared, "tokens").astype(np.int64) - is_full
    validation = join_columns(compared, "validation").astype(bool)
    fills = stays & (sizes >= (1 if is_full else length))
    if (fills & validation).any() and (fills & ~validation).any():
        return None, np.zeros(len(stays), bool)
    hashes = join_columns(compared, "hash")
    is_old = find_old(compared)
    whole = stays & ~is_old & np.isin(hashes, hashes[is_old])
    if plan.config.near_duplicates == "validation":
        corpus = make_corpus(compared, plan.config.near_threshold, scratch)
        bands, _ = band_shape(plan.config.near_threshold)
        there = np.flatnonzero(stays)
        _, firsts = np.unique(hashes[there], return_index=True)  # exact copies are cut alike
        asked = np.isin(np.arange(len(stays)), there[firsts])
        clusters = find_clusters(corpus.keys, bands, asked)
        near = np.bincount(clusters, minlength=len(stays))[clusters] > 1
        whole |= stays & np.isin(hashes, hashes[near])
    chosen = np.flatnonzero(fills & ~is_old & ~whole)
    documents = zip(hashes[chosen].tolist(), sizes[chosen].tolist(), strict=True)
    return choose_rule(documents, length, plan.config.validation_fraction), whole & ~is_old


def crossing_copies(compared: Sequence[ComparedUnit]) -> np.ndarray:
    """Return the new documents of which a copy is in the other split, (documents,) bool.

    This happens where blocks were held out, for which another rule decided about the copy.
    """
    hashes, is_old = join_columns(compared, "hash"), find_old(compared)
    validation = join_columns(compared, "validation").astype(bool)
    crosses = np.zeros(len(hashes), bool)
    for split in (False, True):
        others = hashes[is_old & (validation != split)]
        crosses |= ~is_old & (validation == split) & np.isin(hashes, others)
    return crosses
