"""Drafts to shards: the documents that stay are packed, unit by unit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from data_tools.config import PrepareConfig
from data_tools.prepare.draft import TABLE, table_writer
from data_tools.prepare.measure import take_documents
from data_tools.prepare.place import Place, whole_file, write_whole
from data_tools.prepare.plan import Plan, Unit
from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import arrow_column, numpy_column
from gpt2zh.data.checksum import file_sha256
from gpt2zh.data.manifest import (
    EXACT,
    KEPT,
    NEAR,
    FileEntry,
    ShardEntry,
    Split,
    TokenizerInfo,
    UnitEntry,
)
from gpt2zh.data.packing import FullPacker, Packer, ZeroNlpPacker
from gpt2zh.data.shard import TRAIN, VALIDATION, write_shard
from gpt2zh.text.id_type import token_dtype

STAYS, IS_EXACT, IS_NEAR = 0, 1, 2
"""What is decided about a document over the whole input; one byte each in a file of fates."""

DOCUMENTS = pa.schema([field for field in TABLE if field.name != "bytes"])
"""The table of the documents kept that stays in the folder."""

_BATCH = 1 << 16  # documents at once


def make_packer(config: PrepareConfig, tokenizer: TokenizerInfo) -> Packer:
    """Return a fresh packer of the configured kind.

    Raises:
        UserError: The tokenizer lacks the tokens that the packing puts around a chunk.
    """
    dtype = token_dtype(tokenizer.vocab_size)
    if config.packing == "full":
        return FullPacker(config.row_length, pad_id=tokenizer.pad_id, dtype=dtype)
    if tokenizer.cls_id is None or tokenizer.sep_id is None:
        raise UserError(
            f"--packing zero_nlp puts [CLS] and [SEP] around each chunk, which the tokenizer "
            f"{tokenizer.name} does not have; use --tokenizer bert-base-chinese (or the path of "
            "its vocab.txt) or --packing full"
        )
    return ZeroNlpPacker(
        config.row_length, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id, dtype=dtype
    )


def pack_unit(
    config: PrepareConfig,
    plan: Plan,
    place: Place,
    unit: Unit,
    advance: Callable[[int], None],
) -> None:
    """Write the shards and the table of one unit, record them, and remove its draft.

    Raises:
        UserError: The draft was damaged; it is removed, so that it is made again.
    """
    tokenizer = plan.tokenizer
    record = read_draft(place, unit.number)
    dtype = token_dtype(tokenizer.vocab_size)
    begins = json.loads(place.decided.read_text("utf-8"))["begins"]
    fates = np.fromfile(place.fates, np.uint8, record["documents"], offset=begins[str(unit.number)])
    writers = {
        name: SplitWriter(place.path, f"{name}-{unit.number:05d}", config, tokenizer, unit.number)
        for name in (TRAIN, VALIDATION)
    }
    sources: dict[int, dict[str, Any]] = {}
    table_path = place.path / f"documents-{unit.number:05d}.parquet"
    with whole_file(table_path, is_durable=True) as file, table_writer(file, DOCUMENTS) as table:
        begin = 0
        for batch, tokens in _read_draft(place, unit.number, record["digest"], dtype):
            fate = fates[begin : begin + len(batch)]
            begin += len(batch)
            _deal(batch, tokens, fate == STAYS, writers)
            _account(batch, fate, sources)
            stays = batch.filter(arrow_column(fate == STAYS))
            table.write_batch(stays.select(DOCUMENTS.names))
    entry = UnitEntry(
        number=unit.number,
        documents=describe_file(table_path),
        bands=_keep_bands(place, unit.number, fates),
    )
    splits = {name: asdict(writer.finish()) for name, writer in writers.items()}
    finished = {"plan": plan.identity, "unit": asdict(entry), "splits": splits, "sources": sources}
    write_whole(place.unit(unit.number), json.dumps(finished))
    for path in place.drafts.glob(f"{unit.number:05d}.*"):
        if path.suffix in (".tokens", ".documents", ".bands"):
            path.unlink()
    advance(unit.bytes)


def read_draft(place: Place, unit: int) -> dict[str, Any]:
    """Return the record of a draft."""
    return json.loads(place.draft(unit, "json").read_text("utf-8"))


def describe_file(path: Path) -> FileEntry:
    """Return a file's entry for the manifest."""
    return FileEntry(file=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))


class SplitWriter:
    """Packs the documents of one split of one unit and writes shards of them."""

    def __init__(
        self, folder: Path, stem: str, config: PrepareConfig, tokenizer: TokenizerInfo, unit: int
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._limit = config.shard_rows
        self._packer = make_packer(config, tokenizer)
        self._tokenizer = tokenizer
        self._unit = unit
        self._waiting: list[np.ndarray] = []
        self._rows = 0
        self._shards: list[ShardEntry] = []
        self._documents = 0
        self._characters = 0
        self._tokens = 0

    def add(self, ids: np.ndarray, counts: np.ndarray, *, characters: int) -> None:
        """Take documents; see `Packer.add`."""
        self._documents += len(counts)
        self._characters += characters
        self._tokens += len(ids)
        self._store(self._packer.add(ids, counts))

    def finish(self) -> Split:
        """Write what is left and return the account of the split."""
        self._store(self._packer.finish())
        if self._rows:
            self._flush(self._rows)
        if self._shards:
            self._shards[-1] = replace(self._shards[-1], padding=self._packer.padding)
        return Split(
            documents=self._documents,
            characters=self._characters,
            tokens=self._tokens,
            rows=sum(shard.rows for shard in self._shards),
            padding=self._packer.padding,
            dropped_tokens=self._packer.dropped_tokens,
            dropped_documents=self._packer.dropped_documents,
            shards=tuple(self._shards),
        )

    def _store(self, rows: np.ndarray) -> None:
        if len(rows):
            self._waiting.append(rows)
            self._rows += len(rows)
        while self._rows >= self._limit:
            self._flush(self._limit)

    def _flush(self, count: int) -> None:
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        path = self._folder / f"{self._stem}-{len(self._shards):03d}.arrow"
        entry = write_shard(path, rows[:count], tokenizer_hash=self._tokenizer.hash)
        self._shards.append(replace(entry, unit=self._unit))
        self._waiting = [rows[count:]]
        self._rows -= count


def _read_draft(
    place: Place, unit: int, said: str, dtype: np.dtype
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Yield some documents at a time, and their tokens.

    Raises:
        UserError: At the end, if the tokens are not those that were written; nothing of the unit
            has been recorded yet. Its draft is removed.
    """
    table = pq.ParquetFile(place.draft(unit, "documents"))
    digest = xxhash.xxh3_128()
    with place.draft(unit, "tokens").open("rb") as file:
        for group in range(table.num_row_groups):
            for batch in table.read_row_group(group).to_batches():
                count = int(numpy_column(batch["tokens"]).sum(dtype=np.int64))
                tokens = np.fromfile(file, dtype, count)
                digest.update(tokens.data)
                if len(tokens) == count:
                    yield batch, tokens
    if digest.hexdigest() != said:
        place.draft(unit, "json").unlink()
        raise UserError(
            f"{place.draft(unit, 'tokens')} was damaged after it was written; it has been "
            "discarded, give the same command again to make it anew"
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


def _account(batch: pa.RecordBatch, fate: np.ndarray, sources: dict[int, dict[str, Any]]) -> None:
    """Add to each source what becomes of its documents."""
    owners, group = np.unique(numpy_column(batch["source"]), return_inverse=True)
    sizes = {name: numpy_column(batch[name]) for name in ("bytes", "characters", "tokens")}

    def add_up(hit: np.ndarray, weights: np.ndarray | None = None) -> list[int]:
        chosen = None if weights is None else weights[hit]
        return np.bincount(group[hit], chosen, len(owners)).astype(np.int64).tolist()

    for owner in owners.tolist():
        sources.setdefault(owner, {"fates": {}, "characters": 0, "tokens": 0})
    for code, name in ((STAYS, KEPT), (IS_EXACT, EXACT), (IS_NEAR, NEAR)):
        hit = fate == code
        sums = zip(owners.tolist(), add_up(hit), add_up(hit, sizes["bytes"]), strict=True)
        for owner, documents, size in sums:
            count = sources[owner]["fates"].setdefault(name, {"documents": 0, "bytes": 0})
            count["documents"] += documents
            count["bytes"] += size
    for what in ("characters", "tokens"):
        for owner, total in zip(owners.tolist(), add_up(fate == STAYS, sizes[what]), strict=True):
            sources[owner][what] += total


def _keep_bands(place: Place, unit: int, fates: np.ndarray) -> FileEntry | None:
    """Keep the near-duplicate keys of the documents that stay, for what is appended later."""
    path = place.draft(unit, "bands")
    if not path.exists():
        return None
    target = place.path / f"near-{unit:05d}.u64"
    with whole_file(target, is_durable=True) as file:
        if len(fates):
            keys = np.memmap(path, np.uint64, "r").reshape(len(fates), -1)
            for begin in range(0, len(fates), _BATCH):
                some = keys[begin : begin + _BATCH][fates[begin : begin + _BATCH] == STAYS]
                file.write(np.ascontiguousarray(some).data)
    return describe_file(target)


def all_splits(parts: Sequence[dict[str, Split]]) -> dict[str, Split]:
    """Add up the splits of units, shards in their order."""
    return {name: _sum_splits([part[name] for part in parts]) for name in (TRAIN, VALIDATION)}


def _sum_splits(parts: Sequence[Split]) -> Split:
    counts = [field.name for field in fields(Split) if field.name != "shards"]
    sums = {name: sum(getattr(part, name) for part in parts) for name in counts}
    return Split(**sums, shards=tuple(shard for part in parts for shard in part.shards))
