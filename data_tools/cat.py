"""`cat`: print one row as text, with the file and line of each document in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_tools.config import CatConfig
from data_tools.shards.near_table import near_duplicates, read_near_columns
from gpt2zh.config.errors import UserError
from gpt2zh.data.documents import DocumentPart, RowLocation, find_row, read_columns, read_documents
from gpt2zh.data.manifest import TOKENIZER_DIR, Manifest, read_manifest
from gpt2zh.data.shard import Shard
from gpt2zh.files.checksum import check_size
from gpt2zh.pages.characters import visible
from gpt2zh.pages.numbers import plural
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_MOST_NEAR = 10


def run(config: CatConfig) -> None:
    """Print a row.

    Raises:
        UserError: The row does not exist, or the folder is damaged.
    """
    manifest = read_manifest(config.shards)
    place = _find_row(manifest, config)
    check_size(config.shards, place.shard, kind="shard")
    shard = Shard(config.shards / place.shard.file)
    if not place.row < shard.rows or shard.row_length != manifest.row_length:
        raise UserError(
            f"shard {shard.path} holds {plural(shard.rows, 'row', show=str)} of "
            f"{shard.row_length} tokens, which is not what the manifest says; copy the right shard "
            "or prepare the shards again"
        )
    ids = shard.tokens[place.row]
    tokenizer = load_tokenizer(config.shards / TOKENIZER_DIR)
    parts = read_documents(config.shards, manifest, config.split, place, ids)
    near = read_near_columns(config.shards, manifest)
    cut = _find_cut(config.shards, manifest, place.shard.unit)
    print(
        f"row {config.row} of {manifest.splits[config.split].rows} ({config.split}), "
        f"row {place.row} of {place.shard.file}, {plural(len(ids), 'token')}"
    )
    for part in parts:
        print()
        is_cut = (part.path, part.line) in cut
        print("\n".join(_show(part, ids, tokenizer, config, is_cut=is_cut)))
        for line in _list_near(part, manifest, near) if near else ():
            print(line)
    rest = len(ids) - (parts[-1].end if manifest.packing == "full" else len(ids))
    if rest:
        print(f"\n{_span(len(ids) - rest, len(ids))}padding")


def _find_row(manifest: Manifest, config: CatConfig) -> RowLocation:
    split, row = config.split, config.row
    rows = manifest.splits[split].rows
    if not 0 <= row < rows:
        other = next(name for name in manifest.splits if name != split)
        cure = f"use a number from 0 to {rows - 1}" if rows else f"use --split {other}"
        raise UserError(
            f"--row {row} is not a row of the {split} split, which has "
            f"{plural(rows, 'row', show=str)}; {cure}"
        )
    return find_row(manifest, split, row, row_length=manifest.row_length)


def _find_cut(folder: Path, manifest: Manifest, number: int) -> set[tuple[str, int]]:
    """Return path and line of the documents of a unit that were cut for the validation split."""
    if not manifest.split_rule.block_tokens:
        return set()
    unit = next(unit for unit in manifest.units if unit.number == number)
    table = read_columns(folder / unit.documents.file, ("source", "line", "hash"))
    times = Counter(zip(*(column.tolist() for column in table.values()), strict=True))
    return {
        (manifest.sources[source].path, line)
        for (source, line, _), parts in times.items()
        if parts > 1
    }


def _show(
    part: DocumentPart,
    ids: np.ndarray,
    tokenizer: TextTokenizer,
    config: CatConfig,
    *,
    is_cut: bool,
) -> Iterator[str]:
    """Yield the lines about one document: its place, which part of it is here, and the text.

    If it was cut for the validation split, all numbers are those of one part.
    """
    here = ids[part.begin : part.end]
    last = part.first + len(here)
    yield f"{_span(part.begin, part.end)}{visible(part.path)} line {part.line}"
    notes = ["a part of the document; others are in the other split"] if is_cut else []
    if (part.first, last) != (0, part.tokens):
        whole = "part" if is_cut else "document"
        notes.append(f"tokens {part.first} to {last - 1} of {part.tokens} of the {whole}")
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


def _list_near(
    part: DocumentPart, manifest: Manifest, columns: Sequence[np.ndarray]
) -> Iterator[str]:
    """Yield the lines about the near duplicates that were dropped for a document."""
    _, _, like_source, like_line, _, _ = columns
    of_file = [source.path == part.path for source in manifest.sources]
    found = np.flatnonzero((like_line == part.line) & np.array(of_file)[like_source])
    for one in near_duplicates(manifest, columns, found[:_MOST_NEAR]):
        yield f"(near copy dropped: {visible(one.path)} line {one.line}, similarity {one.measure})"
    if len(found) > _MOST_NEAR:
        yield f"({plural(len(found) - _MOST_NEAR, 'more near copy', 'more near copies')} dropped)"


def _span(begin: int, end: int) -> str:
    return f"{f'{begin}-{end - 1}':<11} "
