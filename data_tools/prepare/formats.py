"""What the stages of a preparation hand on to each other: records, tables and decisions.

`draft` writes a draft for each unit. `decide` reads all drafts and writes one decision for each
document. `pack` reads both and writes the shards and a record of each unit, which `assemble` joins.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO, Any, NoReturn, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import PreparePlan, Unit
from data_tools.sources.source import Slice
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import FileEntry
from gpt2zh.files.checksum import file_sha256
from gpt2zh.files.durable import whole_file, write_whole

DRAFT_TABLE = pa.schema(
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
"""One line for each document of a draft."""

DOCUMENTS_TABLE = pa.schema([field for field in DRAFT_TABLE if field.name != "bytes"])
"""One line for each document that was kept; these tables stay next to the shards."""

NEAR_KINDS = ("signatures", "texts", "text_sizes")
"""Kinds of the files of a draft by which near duplicates are found and compared: signatures,
(documents, PERMUTATIONS) uint8; the texts after cleaning, one after the other; and the bytes of
each, (documents,) int64."""

KEPT_KINDS = ("set_aside",)
"""Kinds of the files of a draft that are needed until the end, next to its record."""

STAYS, IS_EXACT, IS_NEAR, STAYS_WHOLE = 0, 1, 2, 3
"""Decisions about a document, one byte each: keep it, drop it as a copy of another one, or, where
other documents are cut into blocks, keep it as a whole in the training split."""


class DraftRecord(TypedDict):
    """What is known about the draft of a unit."""

    plan: str
    """The plan's `draft_identity`."""
    documents: int
    tokens: int
    digest: str
    """xxh3_128 of the tokens, in hex."""
    sizes: dict[str, int]
    """Bytes of each file of the draft, by kind."""
    unknown: dict[str, int]
    """Texts that became the unknown token, and how often."""
    slices: list[dict[str, Any]]
    """For each slice of the unit: number of its source, and its `SliceCounts`."""


class UnitRecord(TypedDict):
    """What is known about a unit whose shards are complete."""

    plan: str
    """Identity of the plan."""
    unit: dict[str, Any]
    """A `UnitEntry`."""
    splits: dict[str, dict[str, Any]]
    """A `Split` for each name."""
    sources: dict[int, dict[str, Any]]
    """By number of source: fates, characters, tokens, and the documents that cutting added. JSON
    makes strings of the numbers."""


def write_draft(folder: PartialFolder, unit: int, record: DraftRecord) -> None:
    """Write the record that makes a draft complete."""
    write_whole(folder.draft(unit, "json"), json.dumps(record, ensure_ascii=False))


def find_draft(folder: PartialFolder, unit: int) -> DraftRecord | None:
    """Return the record of a draft; None if it does not exist or is damaged."""
    found = _read_record(folder.draft(unit, "json"), DraftRecord.__required_keys__)
    return cast("DraftRecord | None", found)


def read_draft(folder: PartialFolder, unit: int) -> DraftRecord:
    """Read the record of a draft.

    Raises:
        UserError: It does not exist or is damaged.
    """
    return find_draft(folder, unit) or _refuse(folder.draft(unit, "json"))


def has_draft(plan: PreparePlan, folder: PartialFolder, unit: Unit) -> bool:
    """Return whether the draft of a unit is complete."""
    record = find_draft(folder, unit.number)
    if record is None:
        return False
    held = [drafted["source"] for drafted in record["slices"]]
    if record["plan"] != plan.draft_identity or held != [part.source for part in unit.slices]:
        return False  # of another plan, or it holds a source that was dropped meanwhile
    return _has_files(folder, unit.number, record, record["sizes"])


def _has_files(folder: PartialFolder, unit: int, record: DraftRecord, kinds: Iterable[str]) -> bool:
    """Return whether the files of a draft exist and have their sizes."""
    paths = {folder.draft(unit, kind): record["sizes"].get(kind) for kind in kinds}
    return all(path.exists() and path.stat().st_size == size for path, size in paths.items())


def write_decisions(
    plan: PreparePlan,
    folder: PartialFolder,
    decisions: np.ndarray,
    begins: dict[int, int],
    *,
    blocks: dict[str, int] | None = None,
) -> None:
    """Write the decisions about all documents.

    Args:
        plan: Whose decisions they are.
        folder: Where to write.
        decisions: (documents,) uint8.
        begins: Number of the first document of each unit.
        blocks: A `BlockRule`, if parts of documents are held out.
    """
    with whole_file(folder.decisions, is_durable=True) as file:
        file.write(decisions.tobytes())
    decided = {
        "plan": plan.identity,
        "begins": begins,
        "documents": len(decisions),
        "blocks": blocks,
    }
    write_whole(folder.decided, json.dumps(decided))


def has_decisions(plan: PreparePlan, folder: PartialFolder) -> bool:
    """Return whether the decisions are complete."""
    decided = _find_decided(folder)
    if decided is None or decided["plan"] != plan.identity or not folder.decisions.exists():
        return False
    size = folder.decisions.stat().st_size
    return size == decided.get("documents", size)  # absent in records of earlier versions


def read_decisions(folder: PartialFolder, unit: int, documents: int) -> np.ndarray:
    """Read the decisions about the documents of one unit, (documents,) uint8.

    Raises:
        UserError: They do not exist or are damaged.
    """
    begin = _read_decided(folder)["begins"][str(unit)]
    return np.fromfile(folder.decisions, np.uint8, documents, offset=begin)


def read_blocks(folder: PartialFolder) -> dict[str, int] | None:
    """Read the rule by which parts of documents are held out; None if whole documents are.

    Raises:
        UserError: The decisions do not exist or are damaged.
    """
    return _read_decided(folder).get("blocks")


def _read_decided(folder: PartialFolder) -> dict[str, Any]:
    return _find_decided(folder) or _refuse(folder.decided)


def _find_decided(folder: PartialFolder) -> dict[str, Any] | None:
    """Return the record of the decisions; None if it does not exist or is damaged."""
    try:
        status = folder.decided.stat()
    except FileNotFoundError:
        return None
    return _parse_decided(folder.decided, (status.st_ino, status.st_mtime_ns, status.st_size))


@functools.lru_cache(1)  # it is asked for each unit, and lists all units
def _parse_decided(path: Path, state: tuple[int, ...]) -> dict[str, Any] | None:
    del state  # only so that another file is read again
    return _read_record(path, {"plan", "begins"})


def write_unit(folder: PartialFolder, unit: int, record: UnitRecord) -> None:
    """Write the record that makes a unit finished."""
    write_whole(folder.unit(unit), json.dumps(record))


def read_unit(folder: PartialFolder, unit: int) -> UnitRecord:
    """Read the record of a finished unit.

    Raises:
        UserError: It does not exist or is damaged.
    """
    return _find_unit(folder, unit) or _refuse(folder.unit(unit))


def _find_unit(folder: PartialFolder, unit: int) -> UnitRecord | None:
    found = _read_record(folder.unit(unit), UnitRecord.__required_keys__)
    return cast("UnitRecord | None", found)


def is_finished(plan: PreparePlan, folder: PartialFolder, unit: Unit) -> bool:
    """Return whether the shards of a unit are complete, and what is still needed of its draft.

    The other files of the draft are gone then. So if one that is still needed is damaged, the unit
    must be made again from its draft on.
    """
    record = _find_unit(folder, unit.number)
    if record is None or record["plan"] != plan.identity or not has_decisions(plan, folder):
        return False
    draft = find_draft(folder, unit.number)
    return draft is not None and _has_files(folder, unit.number, draft, KEPT_KINDS)


def read_digests(plan: PreparePlan, folder: PartialFolder) -> dict[int, dict[Slice, str]]:
    """Return the digests of the slices that complete units have read, by number of the source."""
    digests: dict[int, dict[Slice, str]] = {}
    for unit in plan.units:
        if not (has_draft(plan, folder, unit) or is_finished(plan, folder, unit)):
            continue
        for drafted in read_draft(folder, unit.number)["slices"]:
            extent = drafted["extent"]
            part = Slice(extent["begin"], extent["end"], extent["line"])
            digests.setdefault(drafted["source"], {})[part] = extent["digest"]
    return digests


def _read_record(path: Path, keys: Collection[str]) -> dict[str, Any] | None:
    """Return a record that has all the keys; None if there is none.

    A disk that lost a part of the file must not stop a preparation: the work of the record is done
    again.
    """
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and record.keys() >= set(keys) else None


def _refuse(path: Path) -> NoReturn:
    raise UserError(
        f"{path} is missing or damaged; run prepare again with the same options, which makes it "
        "again"
    )


def table_writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Open a table of documents; whole numbers are delta-coded, most take a byte or two."""
    coded = ("line", "bytes", "characters", "tokens")
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=["source"],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in coded if name in schema.names},
        write_statistics=False,
    )


def describe_file(path: Path) -> FileEntry:
    """Return a file's entry for the manifest."""
    return FileEntry(file=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))


def most_common(counts: Counter[str], limit: int) -> dict[str, int]:
    """Return the highest counts, equal ones in the order of their texts."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])
