"""`cat`: one row as text, and the file and line of each document in it.

A shard holds tokens and no places. Where a document stands follows from the table of its unit:
the documents of a unit and split lie one behind the other in its shards, in the table's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.inventory import Item, check_size
from data_tools.report.lengths import read_columns
from data_tools.report.options import CatConfig
from data_tools.signs import visible
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import TOKENIZER_DIR, Manifest, ShardEntry, read_manifest
from gpt2zh.data.shard import VALIDATION, Shard
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


@dataclass(frozen=True)
class Place:
    """Where a row lies."""

    shard: ShardEntry
    row: int
    """Number in the shard."""
    unit_row: int
    """Number among the rows of its unit and split."""
    unit_begin: int
    """Number in the split of the unit's first row."""


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


def run(config: CatConfig) -> None:
    """Print a row.

    Raises:
        UserError: There is no such row, or the folder is damaged.
    """
    manifest = read_manifest(config.shards)
    place = find_row(manifest, config.split, config.row)
    check_size(config.shards, Item("shard", place.shard))
    shard = Shard(config.shards / place.shard.file)
    if not place.row < shard.rows or shard.row_length != manifest.row_length:
        raise UserError(
            f"shard {shard.path} holds {shard.rows} rows of {shard.row_length} tokens, not "
            "what the manifest says; copy the right one or prepare the shards again"
        )
    ids = shard.tokens[place.row]
    tokenizer = load_tokenizer(config.shards / TOKENIZER_DIR)
    parts = parts_of(config.shards, manifest, config.split, place, ids)
    print(
        f"row {config.row} of {manifest.splits[config.split].rows} ({config.split}), "
        f"row {place.row} of {place.shard.file}, {len(ids)} tokens"
    )
    for part in parts:
        print()
        print("\n".join(_show(part, ids, tokenizer, config)))
    rest = len(ids) - (parts[-1].end if manifest.packing == "full" else len(ids))
    if rest:
        print(f"\n{_span(len(ids) - rest, len(ids))}padding")


def find_row(manifest: Manifest, split: str, row: int) -> Place:
    """Say where a row of a split lies.

    Raises:
        UserError: It is not one of its rows.
    """
    rows = manifest.splits[split].rows
    if not 0 <= row < rows:
        other = next(name for name in manifest.splits if name != split)
        cure = f"give a number from 0 to {rows - 1}" if rows else f"give --split {other}"
        raise UserError(f"--row {row} is no row of the {split} split, which has {rows}; {cure}")
    begin = unit_begin = 0
    unit = None
    for shard in manifest.splits[split].shards:
        if shard.unit != unit:
            unit, unit_begin = shard.unit, begin
        if row < begin + shard.rows:
            return Place(shard, row - begin, row - unit_begin, unit_begin)
        begin += shard.rows
    raise UserError(
        f"the shards of the {split} split have {begin} rows, but the manifest says {rows}; it was "
        "altered: restore it or prepare the shards again"
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
        UserError: The table of the unit is damaged, or does not fit the row.
    """
    unit = next((unit for unit in manifest.units if unit.number == place.shard.unit), None)
    if unit is None:
        raise UserError(
            f"shard {place.shard.file} is of unit {place.shard.unit}, which the manifest does not "
            "have; it was altered: restore it or prepare the shards again"
        )
    check_size(folder, Item("table of documents", unit.documents))
    path = folder / unit.documents.file
    table = read_columns(path, ("source", "line", "tokens", "validation"))
    chosen = table["validation"].astype(bool) == (split == VALIDATION)
    table = {name: column[chosen].astype(np.int64) for name, column in table.items()}
    fits = _fills(manifest, split, table["tokens"], place.shard.unit)
    pick = _full if manifest.packing == "full" else _chunk
    parts = list(pick(manifest, table, place)) if fits else []
    if not parts or not _fits(manifest, parts, ids):
        raise UserError(
            f"table of documents {path} does not fit the rows of {place.shard.file}; one of them "
            "was altered: `python -m data_tools verify` says which, copy it anew or prepare the "
            "shards again"
        )
    return parts


def _full(manifest: Manifest, table: dict[str, np.ndarray], place: Place) -> Iterator[Part]:
    """Yield the documents of a row of a stream that is cut every T tokens."""
    length = manifest.row_length
    ends = np.cumsum(table["tokens"])
    begins = ends - table["tokens"]
    low, high = place.unit_row * length, (place.unit_row + 1) * length
    first, last = np.searchsorted(ends, low, "right"), np.searchsorted(begins, high, "left")
    for number in range(int(first), int(last)):
        begin, end = int(begins[number]), int(ends[number])
        if begin == end:
            continue  # no token of it is anywhere
        yield Part(
            path=_path(manifest, table, number),
            line=int(table["line"][number]),
            begin=max(begin, low) - low,
            end=min(end, high) - low,
            first=max(begin, low) - begin,
            tokens=end - begin,
            first_row=place.unit_begin + begin // length,
            last_row=place.unit_begin + (end - 1) // length,
        )


def _chunk(manifest: Manifest, table: dict[str, np.ndarray], place: Place) -> Iterator[Part]:
    """Yield the document of a row that is one chunk between two marks."""
    inner = manifest.row_length - 2
    chunks = table["tokens"] // inner
    ends = np.cumsum(chunks)
    number = int(np.searchsorted(ends, place.unit_row, "right"))
    if number == len(ends):
        return
    first_row = int(ends[number] - chunks[number])
    yield Part(
        path=_path(manifest, table, number),
        line=int(table["line"][number]),
        begin=1,
        end=1 + inner,
        first=(place.unit_row - first_row) * inner,
        tokens=int(table["tokens"][number]),
        first_row=place.unit_begin + first_row,
        last_row=place.unit_begin + int(ends[number]) - 1,
    )


def _path(manifest: Manifest, table: dict[str, np.ndarray], number: int) -> str:
    source = int(table["source"][number])
    if not 0 <= source < len(manifest.sources):
        raise UserError(
            f"a table of documents names source {source}, but the manifest has "
            f"{len(manifest.sources)}; copy the table anew or prepare the shards again"
        )
    return manifest.sources[source].path


def _fills(manifest: Manifest, split: str, tokens: np.ndarray, unit: int) -> bool:
    """Tell whether documents of so many tokens, (n,), fill the rows of their unit and split."""
    shards = [shard for shard in manifest.splits[split].shards if shard.unit == unit]
    rows = sum(shard.rows for shard in shards)
    if manifest.packing == "full":
        padding = sum(shard.padding for shard in shards)
        return int(tokens.sum()) == rows * manifest.row_length - padding
    return int((tokens // (manifest.row_length - 2)).sum()) == rows


def _fits(manifest: Manifest, parts: Sequence[Part], ids: np.ndarray) -> bool:
    """Compare the ends of documents in a row with the tokens that close them."""
    if manifest.packing != "full":
        return True
    tokenizer = manifest.tokenizer
    said = [part.end - 1 for part in parts if part.first + part.end - part.begin == part.tokens]
    used = parts[-1].end
    closed = np.flatnonzero(ids == tokenizer.eos_id).tolist()
    return closed == said and bool((ids[used:] == tokenizer.pad_id).all())


def _show(
    part: Part, ids: np.ndarray, tokenizer: TextTokenizer, config: CatConfig
) -> Iterator[str]:
    """Yield the lines about one document: its place, how much of it is here, and the text."""
    here = ids[part.begin : part.end]
    last = part.first + len(here)
    yield f"{_span(part.begin, part.end)}{visible(part.path)} line {part.line}"
    notes = (
        []
        if (part.first, last) == (0, part.tokens)
        else [f"tokens {part.first} to {last - 1} of {part.tokens} of the document"]
    )
    if part.first:
        notes.append(f"continues from row {part.first_row}")
    if last < part.tokens:
        goes_on = part.last_row > config.row
        notes.append(f"goes on to row {part.last_row}" if goes_on else "the rest was dropped")
    if notes:
        yield f"({'; '.join(notes)})"
    if config.ids:
        yield " ".join(map(str, here.tolist()))
    for line in tokenizer.decode(here).split("\n"):
        yield f"| {visible(line)}"


def _span(begin: int, end: int) -> str:
    return f"{f'{begin}-{end - 1}':<11} "
