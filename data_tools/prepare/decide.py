"""Decide which documents of the whole input are copies of others.

All drafts are complete. Their hashes and signatures are compared in the order of the input, after
those of the shards that are appended to. The result is one byte for each document, and a table of
the near duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_tools.clean.compare import NearPairs, Roles, find_near
from data_tools.prepare.compared import ComparedUnit, find_old, join_columns, make_corpus
from data_tools.prepare.duplicates import repeated
from data_tools.prepare.formats import (
    IS_EXACT,
    IS_NEAR,
    STAYS,
    STAYS_WHOLE,
    has_decisions,
    write_decisions,
)
from data_tools.prepare.hold_out import choose_blocks, crossing_copies
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan
from data_tools.shards.near_table import near_table_name, write_near_table
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import Manifest
from gpt2zh.files.durable import whole_file


def decide(plan: PreparePlan, folder: PartialFolder, base: Manifest | None) -> None:
    """Write the decisions about the documents of all units, unless they are complete already.

    Raises:
        UserError: Near duplicates are wanted, but the shards to append to hold no signatures.
    """
    if has_decisions(plan, folder):
        return
    config = plan.config
    compared = [*_old(plan, folder.output, base), *_new(plan, folder)]
    documents = sum(unit.documents for unit in compared)
    decisions = np.full(documents, STAYS, np.uint8)
    # Old documents come first and stay: none of them repeats a new one. They may repeat each other,
    # as parts of one document or as copies that are kept, so only decisions about new ones change.
    old = sum(unit.documents for unit in compared if unit.is_old)
    if config.exact_duplicates == "drop":
        copies = repeated(lambda: (unit.column("hash") for unit in compared), documents)
        decisions[old:][copies[old:]] = IS_EXACT
    elif base and base.split_rule.block_tokens:
        decisions[crossing_copies(compared)] = IS_EXACT
    if config.near_duplicates != "keep":
        pairs = _near(plan, folder, compared, decisions)
        for pair in pairs:
            decisions[pair.dropped] = IS_NEAR
        _write_table(plan, folder, compared, pairs)
    begins = np.cumsum([0, *(unit.documents for unit in compared)]).tolist()
    by_unit = {unit.number: begin for unit, begin in zip(compared, begins, strict=False)}
    rule, is_whole = choose_blocks(plan, compared, decisions == STAYS, folder.drafts)
    if rule:
        decisions[is_whole] = STAYS_WHOLE
    write_decisions(plan, folder, decisions, by_unit, blocks=asdict(rule) if rule else None)


def _near(
    plan: PreparePlan,
    folder: PartialFolder,
    compared: Sequence[ComparedUnit],
    decisions: np.ndarray,
) -> list[NearPairs]:
    """Return the near duplicates to drop."""
    config = plan.config
    corpus = make_corpus(compared, config.near_threshold, folder.drafts)
    is_new = ~find_old(compared)
    stays = decisions == STAYS
    if config.near_duplicates == "drop":
        return [find_near(corpus, config.near_threshold, Roles(stays, stays & is_new))]
    held_out = join_columns(compared, "validation").astype(bool)
    pairs = []
    if not is_new.all():  # old held-out documents stay, so new training documents near them go
        roles = Roles(stays & held_out & ~is_new, stays & ~held_out & is_new)
        pairs.append(find_near(corpus, config.near_threshold, roles))
        stays[pairs[0].dropped] = False
    roles = Roles(stays & held_out & is_new, stays & ~held_out, drops_listed=True)
    return [*pairs, find_near(corpus, config.near_threshold, roles)]


def _write_table(
    plan: PreparePlan,
    folder: PartialFolder,
    compared: Sequence[ComparedUnit],
    pairs: Sequence[NearPairs],
) -> None:
    """Write what was dropped for which document."""
    sources, lines = (join_columns(compared, name) for name in ("source", "line"))
    dropped, like, similarity, is_estimate = (
        np.concatenate([getattr(pair, name) for pair in pairs])
        for name in ("dropped", "like", "similarity", "is_estimate")
    )
    sources = plan.manifest_numbers(sources)
    order = np.argsort(dropped)
    dropped, like = dropped[order], like[order]
    columns = [sources[dropped], lines[dropped], sources[like], lines[like]]
    first = next(unit.number for unit in compared if not unit.is_old)
    with whole_file(folder.path / near_table_name(first), is_durable=True) as file:
        write_near_table(file, [*columns, similarity[order], is_estimate[order]])


def _new(plan: PreparePlan, folder: PartialFolder) -> Iterator[ComparedUnit]:
    for unit in plan.units:
        table = folder.draft(unit.number, "documents")
        yield ComparedUnit(
            number=unit.number,
            table=table,
            signatures=folder.draft(unit.number, "signatures"),
            documents=pq.ParquetFile(table).metadata.num_rows,
            texts=folder.draft(unit.number, "texts"),
            text_sizes=folder.draft(unit.number, "text_sizes"),
        )


def _old(plan: PreparePlan, output: Path, base: Manifest | None) -> Iterator[ComparedUnit]:
    for unit in base.units if base else ():
        table = output / unit.documents.file
        if plan.config.near_duplicates != "keep" and unit.bands is None:
            raise UserError(
                f"{output} holds no signatures of near duplicates; append with --near-duplicates "
                "keep, or prepare everything again with --overwrite"
            )
        yield ComparedUnit(
            number=unit.number,
            table=table,
            signatures=output / unit.bands.file if unit.bands else table,
            documents=pq.ParquetFile(table).metadata.num_rows,
        )
