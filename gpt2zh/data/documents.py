"""Which documents a row holds, and in which file and line each of them begins.

A shard holds tokens and no places. Where a document stands follows from the table of its unit:
the documents of a unit and split, joined in the table's order, are a stream, and the shards of
that unit and split hold one stretch of it after the other. Under zero_nlp packing a document gives
only its whole chunks to the stream, and a mark stands on both sides of each.

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
class Part:
    """What a row holds of one document; numbers of tokens."""

    path: str
    line: int
    begin: int
    """First token, in the row."""
    end: int
    """One past the last, the closing one included."""
    first: int
    """First token, in the document."""
    tokens: int
    """Of the whole document, the closing one included under full packing."""
    first_row: int
    """Row of the split in which the document begins."""
    last_row: int
    """Row of the split in which the document ends, or its last one that was not dropped."""


@dataclass(frozen=True)
class Stretch:
    """A shard as a stretch of the stream of its unit and split."""

    shard: ShardEntry
    begin: int
    """Token of the stream with which it begins."""
    end: int
    """One past its last token in the stream."""
    first_row: int
    """Number of its first row in the split."""


@dataclass(frozen=True)
class Place:
    """Where a row lies."""

    shard: ShardEntry
    row: int
    """Number in the shard."""
    begin: int
    """Token of the stream with which it begins."""
    end: int
    """One past its last token in the stream."""
    length: int
    """Tokens of the stream in a full row."""
    stretches: tuple[Stretch, ...]
    """All that the unit and split have, in their order."""


def documents_of(shards: ShardSet, row: int) -> list[Part]:
    """Say which documents a row holds, in their order.

    Args:
        shards: The rows, of the length of the preparation or cut anew.
        row: Number of the row in them; `Part.first_row` and `last_row` are such numbers too.

    Raises:
        IndexError: There is no such row.
        UserError: The table of the unit is missing, damaged, or does not fit the row.
    """
    (ids,) = shards.gather(np.array([row]))
    place = find_row(shards.manifest, shards.split, row, row_length=shards.row_length)
    return parts_of(shards.folder, shards.manifest, shards.split, place, ids)


def find_row(manifest: Manifest, split: str, row: int, *, row_length: int) -> Place:
    """Say where a row of a split lies.

    Args:
        manifest: That of the shards.
        split: Part of the rows.
        row: Number in the split, from 0.
        row_length: Tokens of a row; as in `ShardSet`, each shard is cut by itself.

    Raises:
        UserError: The shards in the manifest have fewer rows.
    """
    assert row >= 0, row
    length = row_length - 2 * _margin(manifest)
    stretches = _stretches(manifest, split, length)
    rows = 0
    for stretch in stretches:
        begin = stretch.begin + (row - stretch.first_row) * length
        if begin < stretch.end:
            return Place(
                shard=stretch.shard,
                row=row - stretch.first_row,
                begin=begin,
                end=min(begin + length, stretch.end),
                length=length,
                stretches=tuple(one for one in stretches if one.shard.unit == stretch.shard.unit),
            )
        rows = stretch.first_row + -(-(stretch.end - stretch.begin) // length)
    raise UserError(
        f"the shards of the {split} split have {rows} rows, but the manifest says "
        f"{manifest.splits[split].rows}; it was altered: restore it or prepare the shards again"
    )


def parts_of(
    folder: Path, manifest: Manifest, split: str, place: Place, ids: np.ndarray
) -> list[Part]:
    """Say which documents a row holds, in their order.

    Args:
        folder: The shards.
        manifest: Theirs.
        split: Part of the rows.
        place: Where the row lies.
        ids: The row, (T,), with which the table is compared.

    Raises:
        UserError: The table of the unit is missing, damaged, or does not fit the row.
    """
    unit = _unit_of(manifest, place.shard)
    check_size(folder, unit.documents, kind="table of documents")
    path = folder / unit.documents.file
    table = read_columns(path, ("source", "line", "tokens", "validation"))
    chosen = table["validation"].astype(bool) == (split == VALIDATION)
    table = {name: column[chosen].astype(np.int64) for name, column in table.items()}
    held = _held(manifest, table["tokens"])
    fits = int(held.sum()) == place.stretches[-1].end
    parts = list(_parts(manifest, table, held, place)) if fits else []
    if not parts or not _fits(manifest, parts, ids):
        raise UserError(
            f"table of documents {path} does not fit the rows of {place.shard.file}; one of them "
            "was altered: `python -m data_tools verify` says which, copy it anew or prepare the "
            "shards again"
        )
    return parts


def read_columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read columns of a table of documents, (n,) each.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        table = pq.ParquetFile(path).read(columns=list(names))
        return {name: numpy_column(table[name]) for name in names}
    except (pa.ArrowException, OSError, KeyError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"table of documents {path} cannot be read ({type(error).__name__}: {first}); copy it "
            "anew or prepare the shards again"
        ) from error


def _margin(manifest: Manifest) -> int:
    """Return how many marks stand at each end of a row."""
    return 0 if manifest.packing == "full" else 1


def _stretches(manifest: Manifest, split: str, length: int) -> list[Stretch]:
    """Return the stretches of all units in the order of the split.

    Args:
        manifest: That of the shards.
        split: Part of the rows.
        length: Tokens of the stream in a row.
    """
    prepared = manifest.row_length - 2 * _margin(manifest)
    stretches: list[Stretch] = []
    unit, begin, row = None, 0, 0
    for shard in manifest.splits[split].shards:
        if shard.unit != unit:
            unit, begin = shard.unit, 0
        tokens = shard.rows * prepared - shard.padding
        stretches.append(Stretch(shard, begin, begin + tokens, row))
        begin += tokens
        row += -(-tokens // length)  # rounded up: the last row is filled with padding
    return stretches


def _unit_of(manifest: Manifest, shard: ShardEntry) -> UnitEntry:
    unit = next((unit for unit in manifest.units if unit.number == shard.unit), None)
    if unit is None:
        raise UserError(
            f"shard {shard.file} is of unit {shard.unit}, which the manifest does not have; it "
            "was altered: restore it or prepare the shards again"
        )
    return unit


def _held(manifest: Manifest, tokens: np.ndarray) -> np.ndarray:
    """Return how many tokens of documents of so many, (n,), are in the stream, (n,)."""
    if manifest.packing == "full":
        return tokens
    chunk = manifest.row_length - 2 * _margin(manifest)
    return tokens // chunk * chunk


def _parts(
    manifest: Manifest, table: dict[str, np.ndarray], held: np.ndarray, place: Place
) -> Iterator[Part]:
    """Yield the documents of a row, by how many tokens each has in the stream, (n,)."""
    margin = _margin(manifest)
    ends = np.cumsum(held)
    begins = ends - held
    first = np.searchsorted(ends, place.begin, "right")
    last = np.searchsorted(begins, place.end, "left")
    for number in range(int(first), int(last)):
        begin, end = int(begins[number]), int(ends[number])
        if begin == end:
            continue  # no token of it is anywhere
        yield Part(
            path=_path(manifest, int(table["source"][number])),
            line=int(table["line"][number]),
            begin=margin + max(begin, place.begin) - place.begin,
            end=margin + min(end, place.end) - place.begin,
            first=max(begin, place.begin) - begin,
            tokens=int(table["tokens"][number]),
            first_row=_row_with(place, begin),
            last_row=_row_with(place, end - 1),
        )


def _row_with(place: Place, token: int) -> int:
    """Return the number in the split of the row that holds a token of the stream."""
    stretch = next(stretch for stretch in place.stretches if token < stretch.end)
    return stretch.first_row + (token - stretch.begin) // place.length


def _path(manifest: Manifest, source: int) -> str:
    if not 0 <= source < len(manifest.sources):
        raise UserError(
            f"a table of documents names source {source}, but the manifest has "
            f"{len(manifest.sources)}; copy the table anew or prepare the shards again"
        )
    return manifest.sources[source].path


def _fits(manifest: Manifest, parts: Sequence[Part], ids: np.ndarray) -> bool:
    """Compare the ends of documents in a row with the tokens that close them."""
    if manifest.packing != "full":
        return True
    tokenizer = manifest.tokenizer
    said = [part.end - 1 for part in parts if part.first + part.end - part.begin == part.tokens]
    used = parts[-1].end
    closed = np.flatnonzero(ids == tokenizer.eos_id).tolist()
    return closed == said and bool((ids[used:] == tokenizer.pad_id).all())
