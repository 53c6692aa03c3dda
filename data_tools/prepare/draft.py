"""Read, clean and encode one unit of the input: the part of the work that takes the time.

A draft holds the token ids of a unit's documents, a table with a line for each of them, and a
record of what happened to the rest. Which documents are copies of others is not known yet.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import xxhash

from data_tools.clean.cleaner import Cleaner
from data_tools.clean.near import Signer
from data_tools.prepare.compared import copy_spans
from data_tools.prepare.formats import (
    DRAFT_TABLE,
    NEAR_KINDS,
    DraftRecord,
    most_common,
    table_writer,
    write_draft,
)
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan, SourceSlice, read_plan
from data_tools.shards.split import document_hashes, held_out
from data_tools.sources.block import Block, SetAside
from data_tools.sources.find import SourceFile
from data_tools.sources.read import SliceReader
from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import arrow_column
from gpt2zh.data.manifest import ASIDE, EMPTY, FILTERED, STRUCTURE, Count, Extent
from gpt2zh.files.durable import whole_file
from gpt2zh.text.kernels.utf8 import blank_documents, count_characters
from gpt2zh.text.spans import SpanEncoder, make_encoder
from gpt2zh.text.tokenizer import load_tokenizer

_GROUP = 1 << 16  # documents in a row group of a table; they are packed at once
_TOKENS_LIKE_A_DOCUMENT = 64  # keeps groups of long documents small: 4 M tokens at most
_UNKNOWN_KEPT = 1000  # texts in a record that became the unknown token


@dataclass
class SliceCounts:
    """What is known about a slice of a source so far."""

    records: int = 0
    read: int = 0
    """Decoded bytes."""
    fates: dict[str, Count] = field(default_factory=dict)
    """Of the documents that are not in the draft."""
    extent: Extent | None = None

    def add(self, fate: str, documents: int, size: int) -> None:
        """Count documents that met a fate."""
        if documents or size:
            self.fates[fate] = self.fates.get(fate, Count()) + Count(
                documents=documents, bytes=size
            )


@dataclass(frozen=True)
class DraftTools:
    """What a process needs to make drafts."""

    plan: PreparePlan
    folder: PartialFolder
    encoder: SpanEncoder
    cleaner: Cleaner
    signer: Signer | None


def begin_drafts(output: Path) -> DraftTools:
    """Load what a process needs to make drafts; the partial folder holds all of it."""
    folder = PartialFolder(output)
    plan = read_plan(folder.plan)
    config = plan.config
    return DraftTools(
        plan=plan,
        folder=folder,
        encoder=make_encoder(load_tokenizer(folder.tokenizer)),
        cleaner=Cleaner(config),
        signer=Signer() if config.near_duplicates != "keep" else None,
    )


def make_draft(tools: DraftTools, number: int, advance: Callable[[int], None]) -> None:
    """Read, clean and encode one unit, and write its draft.

    Args:
        tools: From `begin_drafts`.
        number: Of the unit.
        advance: Gets the bytes of input that are done since its last call.

    Raises:
        UserError: A source cannot be read, or changes meanwhile.
    """
    folder, encoder = tools.folder, tools.encoder
    encoder.unknown.clear()
    with contextlib.ExitStack() as stack:

        def create(kind: str) -> IO[bytes]:
            return stack.enter_context(whole_file(folder.draft(number, kind)))

        writer = _DraftWriter(tools, create, stack)
        counts = [
            (part.source, _draft_slice(tools, part, writer, advance))
            for part in tools.plan.unit(number).slices
        ]
        writer.finish()
    record: DraftRecord = {
        "plan": tools.plan.draft_identity,
        "documents": writer.documents,
        "tokens": writer.tokens,
        "digest": writer.digest.hexdigest(),
        "sizes": {kind: folder.draft(number, kind).stat().st_size for kind in writer.kinds},
        "unknown": most_common(encoder.unknown, _UNKNOWN_KEPT),
        "slices": [{"source": source, **asdict(count)} for source, count in counts],
    }
    write_draft(folder, number, record)


class _DraftWriter:
    """Appends blocks of documents to the files of a draft."""

    def __init__(
        self, tools: DraftTools, create: Callable[[str], IO[bytes]], stack: contextlib.ExitStack
    ) -> None:
        self.kinds = ["tokens", "documents", "set_aside", *(NEAR_KINDS if tools.signer else ())]
        files = {kind: create(kind) for kind in self.kinds}
        self._tokens = files["tokens"]
        # The stack closes it before its file, also after an error.
        self._table = stack.enter_context(table_writer(files["documents"], DRAFT_TABLE))
        self.set_aside = files["set_aside"]
        self._near = [files[kind] for kind in NEAR_KINDS if kind in files]
        self._waiting: list[pa.RecordBatch] = []
        self._size = 0
        self.documents = 0
        self.tokens = 0
        self.digest = xxhash.xxh3_128()

    def add(self, ids: np.ndarray, table: pa.RecordBatch, near: tuple[np.ndarray, ...]) -> None:
        """Append documents: ids, table, and what is compared of near duplicates, by kind."""
        self._tokens.write(ids.data)
        self.digest.update(ids.data)
        self._waiting.append(table)
        self._size += table.num_rows + len(ids) // _TOKENS_LIKE_A_DOCUMENT
        if self._size >= _GROUP:
            self.finish()
        for file, values in zip(self._near, near, strict=True):
            file.write(values.data)
        self.documents += table.num_rows
        self.tokens += len(ids)

    def finish(self) -> None:
        """Write the waiting lines as one row group; many small groups would be slow to read."""
        if self._waiting:
            self._table.write_table(pa.Table.from_batches(self._waiting))
        self._waiting = []
        self._size = 0


def _draft_slice(
    tools: DraftTools, part: SourceSlice, writer: _DraftWriter, advance: Callable[[int], None]
) -> SliceCounts:
    source = tools.plan.source(part.source)
    reader = SliceReader(source, part.slice, tools.plan.config)
    counts = SliceCounts()
    done = 0
    for block in reader:
        _take(tools, block, part.source, counts, writer)
        _list_set_aside(block.set_aside, source.path, counts, writer.set_aside)
        advance(reader.position - done)
        done = reader.position
    advance(reader.position - done)
    _check_unchanged(source)
    counts.records, counts.read = reader.records, reader.bytes_read
    counts.extent = Extent(
        begin=part.slice.begin, end=part.slice.end, line=part.slice.line, digest=reader.digest
    )
    return counts


def _take(
    tools: DraftTools, block: Block, source: int, counts: SliceCounts, writer: _DraftWriter
) -> None:
    """Count the documents of a block that are dropped, and write the others to the draft."""
    counts.add(STRUCTURE, 0, block.overhead)
    if not len(block):
        return
    config = tools.plan.config
    block, rules = tools.cleaner(block)
    blank = blank_documents(block.data, block.begins, block.ends)
    counts.add(EMPTY, int(blank.sum()), int(block.sizes[blank].sum()))
    for number, rule in enumerate(tools.cleaner.rules):
        hit = ~blank & (rules == number)
        if rule:
            counts.add(FILTERED + rule, int(hit.sum()), int(block.sizes[hit].sum()))
    kept = ~blank & (rules == 0)
    begins, ends = block.begins[kept], block.ends[kept]
    near = (
        (tools.signer(block, kept), *_copy_texts(block.data, begins, ends)) if tools.signer else ()
    )
    closing = tools.plan.tokenizer.eos_id if config.packing == "full" else None
    ids, lengths = tools.encoder.encode(block.data, begins, ends, closing_id=closing)
    hashes = document_hashes(block.data, begins, ends)
    columns = [
        np.full(len(begins), source, np.int32),
        block.lines[kept],
        block.sizes[kept],
        count_characters(block.data, begins, ends).astype(np.int32),
        lengths.astype(np.int32),
        hashes,
        held_out(hashes, config.validation_fraction),
    ]
    table = pa.record_batch([arrow_column(column) for column in columns], schema=DRAFT_TABLE)
    writer.add(ids, table, near)


def _copy_texts(
    data: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return documents without anything between them, uint8, and the size of each, int64."""
    sizes = ends - begins
    texts = np.empty(int(sizes.sum()), np.uint8)
    copy_spans(data, begins, ends, texts)
    return texts, sizes


def _list_set_aside(
    items: tuple[SetAside, ...], path: Path, counts: SliceCounts, file: IO[bytes]
) -> None:
    for item in items:
        counts.add(ASIDE + item.reason, 1, item.size)
        entry = {"file": path.as_posix(), **asdict(item)}
        text = json.dumps(entry, ensure_ascii=False) + "\n"
        file.write(text.encode("utf-8", "surrogateescape"))


def _check_unchanged(source: SourceFile) -> None:
    try:
        status = source.path.stat()
        found = (status.st_size, status.st_mtime_ns)
    except OSError:
        found = (0, 0)
    if found != (source.bytes, source.mtime_ns):
        raise UserError(
            f"{source.path} was changed while it was read; do not change the input before the "
            "preparation is done, and run the same command again, or with --drop-changed to leave "
            "this file out"
        )
