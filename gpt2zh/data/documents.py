"""Find the documents of a row, and the file and line where each of them begins.

A shard holds only tokens. The positions of documents follow from the table of its unit: the
documents of a unit and split, joined in the table's order, are a stream of tokens, and each shard
of that unit and split holds the next span of the stream. With zero_nlp packing, only whole chunks
of a document are in the stream, and a row is [CLS], a chunk, [SEP].

Shapes: `T` tokens of a row, `n` documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import numpy_column
from gpt2zh.data.manifest import Manifest, ShardEntry, UnitEntry
from gpt2zh.data.shard import VALIDATION, ShardSet
from gpt2zh.files.checksum import check_size


@dataclass(frozen=True)
class DocumentPart:
    """The part of one document that is in a row, in tokens."""

    path: str
    line: int
    begin: int
    """First token, in the row."""
    end: int
    """One past the last token in the row, the end-of-document token included."""
    first: int
    """First token, in the document."""
    tokens: int
    """Tokens of the whole document; with full packing its end-of-document token included."""
    first_row: int
    """Row of the split in which the document begins."""
    last_row: int
    """Row of the split that holds the last token of the document that was not dropped."""


@dataclass(frozen=True)
class ShardSpan:
    """A shard as a span of the token stream of its unit and split."""

    shard: ShardEntry
    begin: int
    """Its first token in the stream."""
    end: int
    """One past its last token in the stream."""
    first_row: int
    """Number of its first row in the split."""


@dataclass(frozen=True)
class RowLocation:
    """The position of a row: its shard, and its tokens in the stream of the unit and split."""

    shard: ShardEntry
    row: int
    """Number in the shard."""
    begin: int
    """Its first token in the stream."""
    end: int
    """One past its last token in the stream."""
    length: int
    """Tokens of the stream in a full row."""
    spans: tuple[ShardSpan, ...]
    """All shards of the unit and split, in order."""


def find_documents(shards: ShardSet, row: int) -> list[DocumentPart]:
    """Return the documents of a row, in order.

    Args:
        shards: The rows, with the length of the preparation or cut to another length.
        row: Number of the row in `shards`, as are `first_row` and `last_row` of the result.

    Raises:
        IndexError: There is no such row.
        UserError: The table of the unit is missing, damaged, or does not fit the row.
    """
    (ids,) = shards.gather(np.array([row]))
    location = find_row(shards.manifest, shards.split, row, row_length=shards.row_length)
    return read_documents(shards.folder, shards.manifest, shards.split, location, ids)


def find_row(manifest: Manifest, split: str, row: int, *, row_length: int) -> RowLocation:
    """Return the position of a row of a split.

    Args:
        manifest: The manifest of the shards.
        split: Name of the split, such as train.
        row: Number in the split, from 0.
        row_length: Tokens of a row; as in `ShardSet`, each shard is cut by itself.

    Raises:
        UserError: The shards in the manifest have fewer rows.
    """
    assert row >= 0, row
    length = row_length - 2 * _special_tokens(manifest)
    spans = _shard_spans(manifest, split, length)
    rows = 0
    for span in spans:
        begin = span.begin + (row - span.first_row) * length
        if begin < span.end:
            return RowLocation(
                shard=span.shard,
                row=row - span.first_row,
                begin=begin,
                end=min(begin + length, span.end),
                length=length,
                spans=tuple(one for one in spans if one.shard.unit == span.shard.unit),
            )
        rows = span.first_row + -(-(span.end - span.begin) // length)
    raise UserError(
        f"the shards of the {split} split have {rows} rows, but the manifest says "
        f"{manifest.splits[split].rows}; the manifest was altered: restore it or prepare the "
        "shards again"
    )


def read_documents(
    folder: Path, manifest: Manifest, split: str, location: RowLocation, ids: np.ndarray
) -> list[DocumentPart]:
    """Return the documents of a row, in order, from the table of its unit.

    Args:
        folder: Folder of the shards.
        manifest: The manifest of the shards.
        split: Name of the split, such as train.
        location: Position of the row.
        ids: Token ids of the row, (T,); the table must agree with them.

    Raises:
        UserError: The table of the unit is missing, damaged, or does not fit the row.
    """
    unit = _find_unit(manifest, location.shard)
    check_size(folder, unit.documents, kind="table of documents")
    path = folder / unit.documents.file
    table = read_columns(path, ("source", "line", "tokens", "validation"))
    chosen = table["validation"].astype(bool) == (split == VALIDATION)
    table = {name: column[chosen].astype(np.int64) for name, column in table.items()}
    held = _tokens_in_stream(manifest, table["tokens"])
    fits = int(held.sum()) == location.spans[-1].end
    parts = list(_yield_parts(manifest, table, held, location)) if fits else []
    if not parts or not _matches(manifest, parts, ids):
        raise UserError(
            f"table of documents {path} does not fit the rows of {location.shard.file}; one of "
            "them was altered: run `python -m data_tools verify` to see which one, then copy it "
            "again or prepare the shards again"
        )
    return parts


def read_columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read columns of a table of documents, (n,) each.

    Raises:
        UserError: The table is missing or damaged.
    """
    try:
        # Not pq.read_table, which imports pandas; that takes longer than small work does.
        table = pq.ParquetFile(path).read(columns=list(names))
        return {name: numpy_column(table[name]) for name in names}
    except (pa.ArrowException, OSError, KeyError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"table of documents {path} cannot be read ({type(error).__name__}: {first}); copy it "
            "again or prepare the shards again"
        ) from error


def _special_tokens(manifest: Manifest) -> int:
    """Return how many special tokens stand at each end of a row."""
    return 0 if manifest.packing == "full" else 1


def _shard_spans(manifest: Manifest, split: str, length: int) -> list[ShardSpan]:
    """Return the spans of all shards of all units, in the order of the split.

    Args:
        manifest: The manifest of the shards.
        split: Name of the split, such as train.
        length: Tokens of the stream in a row.
    """
    prepared = manifest.row_length - 2 * _special_tokens(manifest)
    spans: list[ShardSpan] = []
    unit, begin, row = None, 0, 0
    for shard in manifest.splits[split].shards:
        if shard.unit != unit:
            unit, begin = shard.unit, 0
        tokens = shard.rows * prepared - shard.padding
        spans.append(ShardSpan(shard, begin, begin + tokens, row))
        begin += tokens
        row += -(-tokens // length)  # rounded up: the last row is filled with padding
    return spans


def _find_unit(manifest: Manifest, shard: ShardEntry) -> UnitEntry:
    unit = next((unit for unit in manifest.units if unit.number == shard.unit), None)
    if unit is None:
        raise UserError(
            f"shard {shard.file} belongs to unit {shard.unit}, which the manifest does not have; "
            "the manifest was altered: restore it or prepare the shards again"
        )
    return unit


def _tokens_in_stream(manifest: Manifest, tokens: np.ndarray) -> np.ndarray:
    """Return how many of the tokens of each document, (n,), are in the stream, (n,)."""
    if manifest.packing == "full":
        return tokens
    chunk = manifest.row_length - 2 * _special_tokens(manifest)
    return tokens // chunk * chunk


def _yield_parts(
    manifest: Manifest, table: dict[str, np.ndarray], held: np.ndarray, location: RowLocation
) -> Iterator[DocumentPart]:
    """Yield the documents of a row; `held` are the tokens of each in the stream, (n,)."""
    margin = _special_tokens(manifest)
    ends = np.cumsum(held)
    begins = ends - held
    first = np.searchsorted(ends, location.begin, "right")
    last = np.searchsorted(begins, location.end, "left")
    for number in range(int(first), int(last)):
        begin, end = int(begins[number]), int(ends[number])
        if begin == end:
            continue  # no row holds a token of it
        yield DocumentPart(
            path=_source_path(manifest, int(table["source"][number])),
            line=int(table["line"][number]),
            begin=margin + max(begin, location.begin) - location.begin,
            end=margin + min(end, location.end) - location.begin,
            first=max(begin, location.begin) - begin,
            tokens=int(table["tokens"][number]),
            first_row=_row_holding(location, begin),
            last_row=_row_holding(location, end - 1),
        )


def _row_holding(location: RowLocation, token: int) -> int:
    """Return the number in the split of the row that holds a token of the stream."""
    span = next(span for span in location.spans if token < span.end)
    return span.first_row + (token - span.begin) // location.length


def _source_path(manifest: Manifest, source: int) -> str:
    if not 0 <= source < len(manifest.sources):
        raise UserError(
            f"a table of documents names source {source}, but the manifest has "
            f"{len(manifest.sources)}; copy the table again or prepare the shards again"
        )
    return manifest.sources[source].path


def _matches(manifest: Manifest, parts: Sequence[DocumentPart], ids: np.ndarray) -> bool:
    """Return whether documents end in a row where its end-of-document tokens are."""
    if manifest.packing != "full":
        return True
    tokenizer = manifest.tokenizer
    expected = [part.end - 1 for part in parts if part.first + part.end - part.begin == part.tokens]
    used = parts[-1].end
    found = np.flatnonzero(ids == tokenizer.eos_id).tolist()
    return found == expected and bool((ids[used:] == tokenizer.pad_id).all())
