"""One unit of the input, read, cleaned and encoded: the part of the work that takes the time.

A draft is the token ids of a unit's documents, a table with a line for each of them, and a record
of what became of the rest. Which documents are copies of others is not known yet.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from data_tools.clean.cleaner import Cleaner
from data_tools.clean.near import Signer
from data_tools.config import PrepareConfig
from data_tools.prepare.place import Place, whole_file, write_whole
from data_tools.prepare.plan import Piece, Plan, Unit
from data_tools.sources.block import Block, SetAside
from data_tools.sources.find import SourceFile
from data_tools.sources.read import SliceReader
from data_tools.split import document_hashes, held_out
from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import arrow_column
from gpt2zh.data.manifest import ASIDE, EMPTY, FILTERED, STRUCTURE, Count, Extent
from gpt2zh.text.kernels.utf8 import blank_documents, count_characters
from gpt2zh.text.spans import SpanEncoder

TABLE = pa.schema(
    [
        ("source", pa.int32()),  # number in the manifest
        ("line", pa.int64()),
        ("bytes", pa.int64()),  # of the record in the decoded file
        ("characters", pa.int32()),
        ("tokens", pa.int32()),
        ("hash", pa.uint64()),
        ("validation", pa.bool_()),
    ]
)
_GROUP = 1 << 16  # documents of a group in a table, which are packed at once
_TOKENS_LIKE_A_DOCUMENT = 64  # so that long documents make small groups: 4 M tokens at most
_UNKNOWN_KEPT = 1000  # texts of which a record tells how often they were unknown


@dataclass
class Tally:
    """What is known about a slice of a source so far."""

    records: int = 0
    read: int = 0
    fates: dict[str, Count] = field(default_factory=dict)
    extent: Extent | None = None

    def add(self, fate: str, documents: int, size: int) -> None:
        """Count documents that met a fate."""
        if documents or size:
            self.fates[fate] = self.fates.get(fate, Count()) + Count(
                documents=documents, bytes=size
            )


@dataclass(frozen=True)
class Kit:
    """What every draft is made with."""

    config: PrepareConfig
    plan: Plan
    place: Place
    encoder: SpanEncoder
    closing_id: int | None
    cleaner: Cleaner
    signer: Signer | None


def make_draft(kit: Kit, unit: Unit, advance: Callable[[int], None]) -> None:
    """Prepare one unit and leave its draft in the place.

    Args:
        kit: What to do it with.
        unit: Which.
        advance: Is told of bytes of input as they are done.

    Raises:
        UserError: A source cannot be read, or changes meanwhile.
    """
    kit.encoder.unknown.clear()
    with contextlib.ExitStack() as stack:

        def create(kind: str) -> IO[bytes]:
            return stack.enter_context(whole_file(kit.place.draft(unit.number, kind)))

        writer = _Writer(kit, create, stack)
        tallies = [
            (piece.source, _draft_piece(kit, piece, writer, advance)) for piece in unit.pieces
        ]
        writer.finish()
    unknown = most_common(kit.encoder.unknown, _UNKNOWN_KEPT)
    record = {
        "plan": kit.plan.identity,
        "documents": writer.documents,
        "tokens": writer.tokens,
        "digest": writer.digest.hexdigest(),
        "sizes": {kind: kit.place.draft(unit.number, kind).stat().st_size for kind in writer.kinds},
        "unknown": unknown,
        "pieces": [{"source": source, **asdict(tally)} for source, tally in tallies],
    }
    write_whole(kit.place.draft(unit.number, "json"), json.dumps(record, ensure_ascii=False))


def table_writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Open a table of documents: whole numbers are delta-coded, most take a byte or two."""
    coded = ("line", "bytes", "characters", "tokens")
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=["source"],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in coded if name in schema.names},
        write_statistics=False,
    )


def most_common(counts: Counter[str], limit: int) -> dict[str, int]:
    """Return the highest counts, equal ones in the order of their texts."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


class _Writer:
    """Appends blocks of documents to the files of a draft."""

    def __init__(
        self, kit: Kit, create: Callable[[str], IO[bytes]], stack: contextlib.ExitStack
    ) -> None:
        self.kinds = ["tokens", "documents", "set_aside", *(["bands"] if kit.signer else [])]
        files = {kind: create(kind) for kind in self.kinds}
        self._tokens = files["tokens"]
        # The stack closes it before its file, also after an error.
        self._table = stack.enter_context(table_writer(files["documents"], TABLE))
        self.set_aside = files["set_aside"]
        self._bands = files.get("bands")
        self._waiting: list[pa.RecordBatch] = []
        self._size = 0
        self.documents = 0
        self.tokens = 0
        self.digest = xxhash.xxh3_128()

    def add(self, ids: np.ndarray, table: pa.RecordBatch, bands: np.ndarray | None) -> None:
        self._tokens.write(ids.data)
        self.digest.update(ids.data)
        self._waiting.append(table)
        self._size += table.num_rows + len(ids) // _TOKENS_LIKE_A_DOCUMENT
        if self._size >= _GROUP:
            self.finish()
        if self._bands is not None and bands is not None:
            self._bands.write(np.ascontiguousarray(bands).data)
        self.documents += table.num_rows
        self.tokens += len(ids)

    def finish(self) -> None:
        """Write the lines that wait as one group: many small ones would be slow to read."""
        if self._waiting:
            self._table.write_table(pa.Table.from_batches(self._waiting))
        self._waiting = []
        self._size = 0


def _draft_piece(kit: Kit, piece: Piece, writer: _Writer, advance: Callable[[int], None]) -> Tally:
    source = kit.plan.source(piece.source)
    reader = SliceReader(source, piece.part, kit.config)
    tally = Tally()
    done = 0
    for block in reader:
        _take(kit, block, piece.source, tally, writer)
        _list_set_aside(block.set_aside, source.path, tally, writer.set_aside)
        advance(reader.position - done)
        done = reader.position
    _check_unchanged(source)
    tally.records, tally.read = reader.records, reader.bytes_read
    tally.extent = Extent(
        begin=piece.part.begin, end=piece.part.end, line=piece.part.line, digest=reader.digest
    )
    return tally


def _take(kit: Kit, block: Block, source: int, tally: Tally, writer: _Writer) -> None:
    """Send the documents of a block each to its fate; those that may be kept to the draft."""
    tally.add(STRUCTURE, 0, block.overhead)
    if not len(block):
        return
    block, rules = kit.cleaner(block)
    blank = blank_documents(block.data, block.begins, block.ends)
    tally.add(EMPTY, int(blank.sum()), int(block.sizes[blank].sum()))
    for number, rule in enumerate(kit.cleaner.rules):
        hit = ~blank & (rules == number)
        if rule:
            tally.add(FILTERED + rule, int(hit.sum()), int(block.sizes[hit].sum()))
    kept = ~blank & (rules == 0)
    bands = kit.signer(block, kept)[kept] if kit.signer else None
    begins, ends = block.begins[kept], block.ends[kept]
    ids, counts = kit.encoder.encode(block.data, begins, ends, closing_id=kit.closing_id)
    hashes = document_hashes(block.data, begins, ends)
    columns = [
        np.full(len(begins), source, np.int32),
        block.lines[kept],
        block.sizes[kept],
        count_characters(block.data, begins, ends).astype(np.int32),
        counts.astype(np.int32),
        hashes,
        held_out(hashes, kit.config.validation_fraction),
    ]
    table = pa.record_batch([arrow_column(column) for column in columns], schema=TABLE)
    writer.add(ids, table, bands)


def _list_set_aside(items: tuple[SetAside, ...], path: Path, tally: Tally, file: IO[bytes]) -> None:
    for item in items:
        tally.add(ASIDE + item.reason, 1, item.size)
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
            f"{source.path} was changed while it was read; leave the input alone until the "
            "preparation is done, then give the same command again"
        )
