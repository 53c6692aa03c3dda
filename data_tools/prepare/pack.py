"""Pack the documents that stay into shards, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from data_tools.prepare.blocks import BlockRule, Cutting, cut_documents
from data_tools.prepare.formats import (
    DOCUMENTS_TABLE,
    IS_EXACT,
    IS_NEAR,
    KEPT_KINDS,
    STAYS,
    STAYS_WHOLE,
    UnitRecord,
    describe_file,
    read_blocks,
    read_decisions,
    read_draft,
    table_writer,
    write_unit,
)
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan, read_plan
from data_tools.prepare.split_writer import SplitWriter
from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import arrow_column, numpy_column
from gpt2zh.data.manifest import (
    EXACT,
    KEPT,
    NEAR,
    FileEntry,
    UnitEntry,
)
from gpt2zh.data.shard import TRAIN, VALIDATION
from gpt2zh.files.durable import whole_file
from gpt2zh.text.id_type import token_dtype
from gpt2zh.text.kernels.compiled import compiled_with_arrays
from gpt2zh.text.tokenizer import load_tokenizer

_BATCH = 1 << 16  # documents at once


@dataclass(frozen=True)
class PackTools:
    """What a process needs to pack units."""

    plan: PreparePlan
    folder: PartialFolder


def begin_packing(output: Path) -> PackTools:
    """Load what a process needs to pack units."""
    folder = PartialFolder(output)
    return PackTools(read_plan(folder.plan), folder)


def pack_unit(tools: PackTools, number: int, advance: Callable[[int], None]) -> None:
    """Write the shards and the table of one unit, record them, and remove its draft.

    Args:
        tools: From `begin_packing`.
        number: Of the unit.
        advance: Gets the bytes of input that are done since its last call.

    Raises:
        UserError: The draft was damaged; it is removed, so that it is made again.
    """
    plan, folder = tools.plan, tools.folder
    cutting = _find_cutting(plan, folder)
    draft = read_draft(folder, number)
    codes = read_decisions(folder, number, draft["documents"])
    decisions = np.where(codes == STAYS_WHOLE, STAYS, codes)  # the same, but for cutting
    writers = {name: SplitWriter(plan, folder.path, name, number) for name in (TRAIN, VALIDATION)}
    sources: dict[int, dict[str, Any]] = {}
    path = folder.path / f"documents-{number:05d}.parquet"
    with whole_file(path, is_durable=True) as file, table_writer(file, DOCUMENTS_TABLE) as table:
        begin, parts = 0, np.ones(len(decisions), np.int64)
        for batch, tokens in _read_documents(plan, folder, number, draft["digest"]):
            some = slice(begin, begin + len(batch))
            decision, before = decisions[some], batch
            begin += len(batch)
            if cutting is not None:
                cut = cut_documents(batch, tokens, codes[some], cutting)
                batch, tokens, decision = cut.table, cut.ids, decision[cut.documents]
                parts[some] = np.bincount(cut.documents, minlength=len(before))
                _count_parts(batch, before, sources)
            _deal(batch, tokens, decision == STAYS, writers)
            _account(batch, decision, sources)
            stays = batch.filter(arrow_column(decision == STAYS))
            table.write_batch(_renumber(stays, plan).select(DOCUMENTS_TABLE.names))
    entry = UnitEntry(
        number=number,
        documents=describe_file(path),
        bands=_keep_signatures(folder, number, decisions, parts),
    )
    record: UnitRecord = {
        "plan": plan.identity,
        "unit": asdict(entry),
        "splits": {name: asdict(writer.finish()) for name, writer in writers.items()},
        "sources": sources,
    }
    write_unit(folder, number, record)
    for path in folder.drafts.glob(f"{number:05d}.*"):
        if path.suffix.removeprefix(".") not in ("json", *KEPT_KINDS):
            path.unlink()
    advance(plan.unit(number).bytes)


def _find_cutting(plan: PreparePlan, folder: PartialFolder) -> Cutting | None:
    """Return how documents are cut, None if whole documents are held out."""
    rule = read_blocks(folder)
    if rule is None:
        return None
    closing = plan.tokenizer.eos_id if plan.config.packing == "full" else None
    tokenizer = load_tokenizer(folder.tokenizer)
    return Cutting(BlockRule(**rule), closing, lambda ids: tokenizer.decode(ids.tolist()))


def _count_parts(
    batch: pa.RecordBatch, before: pa.RecordBatch, sources: dict[int, dict[str, Any]]
) -> None:
    """Add to each source how many documents cutting added to it."""
    for table, sign in ((batch, 1), (before, -1)):
        owners, counts = np.unique(numpy_column(table["source"]), return_counts=True)
        for owner, count in zip(owners.tolist(), counts.tolist(), strict=True):
            _find_source(sources, owner)["added"] += sign * count


def _find_source(sources: dict[int, dict[str, Any]], owner: int) -> dict[str, Any]:
    return sources.setdefault(owner, {"fates": {}, "characters": 0, "tokens": 0, "added": 0})


def _read_documents(
    plan: PreparePlan, folder: PartialFolder, unit: int, expected: str
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Yield some documents of a draft at a time, and their tokens.

    Raises:
        UserError: At the end, if the tokens do not have the `expected` digest. The draft is
            removed; nothing about the unit has been recorded yet.
    """
    dtype = token_dtype(plan.tokenizer.vocab_size)
    table = pq.ParquetFile(folder.draft(unit, "documents"))
    digest = xxhash.xxh3_128()
    with folder.draft(unit, "tokens").open("rb") as file:
        for group in range(table.num_row_groups):
            for batch in table.read_row_group(group).to_batches():
                count = int(numpy_column(batch["tokens"]).sum(dtype=np.int64))
                tokens = np.fromfile(file, dtype, count)
                digest.update(tokens.data)
                if len(tokens) == count:
                    yield batch, tokens
    if digest.hexdigest() != expected:
        folder.draft(unit, "json").unlink()
        raise UserError(
            f"{folder.draft(unit, 'tokens')} was damaged after it was written and has been "
            "deleted; to rebuild it, run prepare again with the same options; after work in parts, "
            "run the parts again, which only do what is missing, and then finish"
        )


def _deal(
    batch: pa.RecordBatch,
    ids: np.ndarray,
    stays: np.ndarray,
    writers: dict[str, SplitWriter],
) -> None:
    """Hand the documents that stay to the writers of their splits."""
    counts = numpy_column(batch["tokens"]).astype(np.int64)
    characters = numpy_column(batch["characters"])
    validation = numpy_column(batch["validation"])
    for name, writer in writers.items():
        chosen = stays & (validation == (name == VALIDATION))
        taken = np.empty(int(counts[chosen].sum()), ids.dtype)
        take_documents(ids, counts, chosen, taken)
        total = int(characters[chosen].sum(dtype=np.int64))
        writer.add(taken, counts[chosen], characters=total)


def _renumber(batch: pa.RecordBatch, plan: PreparePlan) -> pa.RecordBatch:
    """Return documents with the numbers that their sources get in the manifest."""
    if not plan.dropped:
        return batch
    numbers = plan.manifest_numbers(numpy_column(batch["source"]))
    place = batch.schema.get_field_index("source")
    return batch.set_column(place, batch.schema.field(place), arrow_column(numbers))


def _account(
    batch: pa.RecordBatch, decision: np.ndarray, sources: dict[int, dict[str, Any]]
) -> None:
    """Add to each source what happens to its documents."""
    owners, group = np.unique(numpy_column(batch["source"]), return_inverse=True)
    sizes = {name: numpy_column(batch[name]) for name in ("bytes", "characters", "tokens")}

    def add_up(hit: np.ndarray, weights: np.ndarray | None = None) -> list[int]:
        chosen = None if weights is None else weights[hit]
        return np.bincount(group[hit], chosen, len(owners)).astype(np.int64).tolist()

    for owner in owners.tolist():
        _find_source(sources, owner)
    for code, name in ((STAYS, KEPT), (IS_EXACT, EXACT), (IS_NEAR, NEAR)):
        hit = decision == code
        sums = zip(owners.tolist(), add_up(hit), add_up(hit, sizes["bytes"]), strict=True)
        for owner, documents, size in sums:
            count = sources[owner]["fates"].setdefault(name, {"documents": 0, "bytes": 0})
            count["documents"] += documents
            count["bytes"] += size
    for what in ("characters", "tokens"):
        for owner, total in zip(
            owners.tolist(), add_up(decision == STAYS, sizes[what]), strict=True
        ):
            sources[owner][what] += total


def _keep_signatures(
    folder: PartialFolder, unit: int, decisions: np.ndarray, parts: np.ndarray
) -> FileEntry | None:
    """Keep the signatures of the documents that stay, for later appends.

    `parts` says how many lines each document has in the table.
    """
    path = folder.draft(unit, "signatures")
    if not path.exists():
        return None
    target = folder.path / f"near-{unit:05d}.u8"
    with whole_file(target, is_durable=True) as file:
        if len(decisions):
            signed = np.memmap(path, np.uint8, "r").reshape(len(decisions), -1)
            for begin in range(0, len(decisions), _BATCH):
                here = slice(begin, begin + _BATCH)
                stays = decisions[here] == STAYS
                some = np.repeat(signed[here][stays], parts[here][stays], axis=0)
                file.write(np.ascontiguousarray(some).data)
    return describe_file(target)


@compiled_with_arrays
def take_documents(
    ids: np.ndarray, counts: np.ndarray, chosen: np.ndarray, out: np.ndarray
) -> None:
    """Copy the tokens of the chosen documents to `out`, which has exactly their size.

    Args:
        ids: (t,), documents one after the other.
        counts: (n,) int64, tokens of each.
        chosen: (n,) bool.
        out: (tokens of the chosen,), of the type of `ids`.
    """
    begin = 0
    end = 0
    for document in range(len(counts)):
        count = counts[document]
        if chosen[document]:
            out[end : end + count] = ids[begin : begin + count]
            end += count
        begin += count
