"""What becomes of each document over the whole input: which ones are copies of others.

All drafts are there; their hashes and keys are gone through in the order of the input, those of
the shards that are appended to first. The answer is one byte per document in a file per unit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_tools.clean.near import Signer, leaks, near_copies
from data_tools.config import PrepareConfig
from data_tools.prepare.duplicates import repeated
from data_tools.prepare.pack import IS_EXACT, IS_NEAR, STAYS
from data_tools.prepare.place import Place, whole_file, write_whole
from data_tools.prepare.plan import Plan
from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import numpy_column
from gpt2zh.data.manifest import Manifest


@dataclass(frozen=True)
class Known:
    """The documents of one unit, as far as they are compared."""

    unit: int
    table: Path
    bands: Path
    documents: int
    is_old: bool
    """It is in the shards already and cannot change any more."""

    def column(self, name: str) -> np.ndarray:
        """Return a column of the table, (documents,).

        Not by `pq.read_table`, which imports pandas.
        """
        return numpy_column(pq.ParquetFile(self.table).read(columns=[name])[name])

    def keys(self, band: int) -> np.ndarray:
        """Return the keys of one band, (documents,) uint64."""
        if not self.documents:
            return np.empty(0, np.uint64)
        return np.memmap(self.bands, np.uint64, "r").reshape(self.documents, -1)[:, band]


def decide(config: PrepareConfig, plan: Plan, place: Place, base: Manifest | None) -> None:
    """Write the fates of the documents of all units, unless they are written already.

    Raises:
        UserError: Near duplicates shall be found among shards that have no keys of theirs.
    """
    said = json.loads(place.decided.read_text("utf-8")) if place.decided.exists() else {}
    if said.get("plan") == plan.identity:
        return
    known = [*_old(place.output, base, config), *_new(plan, place)]
    documents = sum(some.documents for some in known)
    fates = np.full(documents, STAYS, np.uint8)
    # Old documents come first, so none of them repeats a new one; among themselves they differ.
    old = sum(some.documents for some in known if some.is_old)
    if config.exact_duplicates == "drop":
        copies = repeated(lambda: (some.column("hash") for some in known), documents)
        fates[old:][copies[old:]] = IS_EXACT
    if config.near_duplicates != "keep":
        near = _near(config, known, fates, old)
        fates[old:][near[old:]] = IS_NEAR
    with whole_file(place.fates, is_durable=True) as file:
        file.write(fates.tobytes())
    begins = np.cumsum([0, *(some.documents for some in known)]).tolist()
    units = {some.unit: begin for some, begin in zip(known, begins, strict=False)}
    write_whole(place.decided, json.dumps({"plan": plan.identity, "begins": units}))


def _near(config: PrepareConfig, known: Sequence[Known], fates: np.ndarray, old: int) -> np.ndarray:
    """Tell which documents are near duplicates to be dropped, (documents,) bool."""
    bands = Signer(config.near_threshold).bands
    dropped = fates != STAYS

    def keys(band: int) -> np.ndarray:
        return np.concatenate([some.keys(band) for some in known])

    if config.near_duplicates == "drop":
        return near_copies(keys, len(fates), bands, dropped)
    validation = np.concatenate([some.column("validation") for some in known]).astype(bool)
    leaking = leaks(keys, len(fates), bands, dropped, validation)
    if old:  # what was held out before stays held out: then the new training document goes
        is_new = np.arange(len(fates)) >= old
        others = dropped | (validation & is_new) | (~validation & ~is_new)
        leaking |= leaks(keys, len(fates), bands, others, ~validation)
    return leaking


def _new(plan: Plan, place: Place) -> Iterator[Known]:
    for unit in plan.units:
        table = place.draft(unit.number, "documents")
        yield Known(
            unit=unit.number,
            table=table,
            bands=place.draft(unit.number, "bands"),
            documents=pq.ParquetFile(table).metadata.num_rows,
            is_old=False,
        )


def _old(output: Path, base: Manifest | None, config: PrepareConfig) -> Iterator[Known]:
    for unit in base.units if base else ():
        table = output / unit.documents.file
        if config.near_duplicates != "keep" and unit.bands is None:
            raise UserError(
                f"{output} holds no keys of near duplicates; append with --near-duplicates keep, "
                "or prepare everything again"
            )
        yield Known(
            unit=unit.number,
            table=table,
            bands=output / unit.bands.file if unit.bands else table,
            documents=pq.ParquetFile(table).metadata.num_rows,
            is_old=True,
        )
