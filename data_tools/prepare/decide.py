"""Decide which documents of the whole input are copies of others.

All drafts are complete. Their hashes and keys are compared in the order of the input, after those
of the shards that are appended to. The result is one byte for each document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_tools.clean.near import Signer, find_leaks, find_near_copies
from data_tools.prepare.blocks import BlockRule, choose_rule
from data_tools.prepare.duplicates import repeated
from data_tools.prepare.formats import (
    IS_EXACT,
    IS_NEAR,
    STAYS,
    has_decisions,
    write_decisions,
)
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan
from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import numpy_column
from gpt2zh.data.manifest import Manifest


@dataclass(frozen=True)
class ComparedUnit:
    """What is compared of the documents of one unit."""

    number: int
    table: Path
    bands: Path
    documents: int
    is_old: bool
    """It is already in the shards and cannot change any more."""

    def column(self, name: str) -> np.ndarray:
        """Return a column of the table, (documents,)."""
        # Not by `pq.read_table`, which imports pandas.
        return numpy_column(pq.ParquetFile(self.table).read(columns=[name])[name])

    def keys(self, band: int) -> np.ndarray:
        """Return the keys of one band, (documents,) uint64."""
        if not self.documents:
            return np.empty(0, np.uint64)
        return np.memmap(self.bands, np.uint64, "r").reshape(self.documents, -1)[:, band]


def decide(plan: PreparePlan, folder: PartialFolder, base: Manifest | None) -> None:
    """Write the decisions about the documents of all units, unless they are complete already.

    Raises:
        UserError: Near duplicates are wanted, but the shards to append to hold no keys.
    """
    if has_decisions(plan, folder):
        return
    config = plan.config
    compared = [*_old(plan, folder.output, base), *_new(plan, folder)]
    documents = sum(unit.documents for unit in compared)
    decisions = np.full(documents, STAYS, np.uint8)
    # Old documents come first, so none of them repeats a new one; among themselves they differ.
    old = sum(unit.documents for unit in compared if unit.is_old)
    if config.exact_duplicates == "drop":
        copies = repeated(lambda: (unit.column("hash") for unit in compared), documents)
        decisions[old:][copies[old:]] = IS_EXACT
    if config.near_duplicates != "keep":
        near = _near(plan, compared, decisions, old)
        decisions[old:][near[old:]] = IS_NEAR
    begins = np.cumsum([0, *(unit.documents for unit in compared)]).tolist()
    by_unit = {unit.number: begin for unit, begin in zip(compared, begins, strict=False)}
    rule = _choose_blocks(plan, compared, decisions == STAYS)
    write_decisions(plan, folder, decisions, by_unit, blocks=asdict(rule) if rule else None)


def _choose_blocks(
    plan: PreparePlan, compared: Sequence[ComparedUnit], stays: np.ndarray
) -> BlockRule | None:
    """Return which blocks are held out, if whole documents leave one of the splits empty.

    Args:
        plan: With the wanted share.
        compared: All units.
        stays: (documents,) bool.
    """
    if not plan.config.validation_fraction or not len(stays):
        return None
    is_full = plan.config.packing == "full"
    length = plan.config.row_length - (1 if is_full else 2)
    sizes = np.concatenate([unit.column("tokens") for unit in compared]).astype(np.int64) - is_full
    validation = np.concatenate([unit.column("validation") for unit in compared]).astype(bool)
    fills = stays & (sizes >= (1 if is_full else length))
    if (fills & validation).any() and (fills & ~validation).any():
        return None
    old = sum(unit.documents for unit in compared if unit.is_old)
    hashes = np.concatenate([unit.column("hash") for unit in compared])
    chosen = np.flatnonzero(fills[old:]) + old
    documents = zip(hashes[chosen].tolist(), sizes[chosen].tolist(), strict=True)
    return choose_rule(documents, length, plan.config.validation_fraction)


def _near(
    plan: PreparePlan, compared: Sequence[ComparedUnit], decisions: np.ndarray, old: int
) -> np.ndarray:
    """Return which documents are near duplicates to drop, (documents,) bool."""
    config = plan.config
    bands = Signer(config.near_threshold).bands
    dropped = decisions != STAYS

    def keys(band: int) -> np.ndarray:
        return np.concatenate([unit.keys(band) for unit in compared])

    if config.near_duplicates == "drop":
        return find_near_copies(keys, len(decisions), bands, dropped)
    validation = np.concatenate([unit.column("validation") for unit in compared]).astype(bool)
    leaking = find_leaks(keys, len(decisions), bands, dropped, validation)
    if old:  # old held-out documents stay held out, so new training documents near them are dropped
        is_new = np.arange(len(decisions)) >= old
        others = dropped | (validation & is_new) | (~validation & ~is_new)
        leaking |= find_leaks(keys, len(decisions), bands, others, ~validation)
    return leaking


def _new(plan: PreparePlan, folder: PartialFolder) -> Iterator[ComparedUnit]:
    for unit in plan.units:
        table = folder.draft(unit.number, "documents")
        yield ComparedUnit(
            number=unit.number,
            table=table,
            bands=folder.draft(unit.number, "bands"),
            documents=pq.ParquetFile(table).metadata.num_rows,
            is_old=False,
        )


def _old(plan: PreparePlan, output: Path, base: Manifest | None) -> Iterator[ComparedUnit]:
    for unit in base.units if base else ():
        table = output / unit.documents.file
        if plan.config.near_duplicates != "keep" and unit.bands is None:
            raise UserError(
                f"{output} holds no keys of near duplicates; append with --near-duplicates keep, "
                "or prepare everything again with --overwrite"
            )
        yield ComparedUnit(
            number=unit.number,
            table=table,
            bands=output / unit.bands.file if unit.bands else table,
            documents=pq.ParquetFile(table).metadata.num_rows,
            is_old=True,
        )
