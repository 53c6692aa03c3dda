"""The manifest of a folder of shards: what its rows are and where they come from.

The same inputs and options give the same bytes, so it holds no date and no host name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpt2zh.config.errors import UserError
from gpt2zh.files.durable import write_whole
from gpt2zh.pages.console import command

MANIFEST = "manifest.json"
FORMAT_VERSION = 2
TOKENIZER_DIR = "tokenizer"
SET_ASIDE = "set_aside.jsonl"

KEPT, EMPTY, STRUCTURE = "kept", "empty", "structure"
EXACT, NEAR = "exact duplicate", "near duplicate"
FILTERED, ASIDE = "filtered: ", "set aside: "  # each followed by its rule or reason


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many documents and bytes had one outcome."""

    documents: int = 0
    bytes: int = 0
    """Bytes of the decoded file: records with all their columns and syntax."""

    def __add__(self, other: Count) -> Count:
        return Count(documents=self.documents + other.documents, bytes=self.bytes + other.bytes)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A part of an input file that was read by one unit."""

    begin: int
    end: int
    line: int
    """Its first line, counted from 1."""
    digest: str
    """xxh3_128 of the raw bytes."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One input file, and the outcome of everything in it."""

    path: str
    format: str
    compression: str
    encoding: str
    bytes: int
    """Bytes on the disk."""
    read: int
    """Bytes after decompression and decoding, counted by the reader's stream."""
    records: int
    """Records, counted by the reader; a document that was cut counts once for each part."""
    fates: dict[str, Count]
    """Outcomes: kept, empty, structure (header, blank lines), exact duplicate, near duplicate, and
    'filtered: ...' and 'set aside: ...' with the rule or reason. They sum to `records` and
    `read`."""
    characters: int
    """Characters of the documents kept."""
    tokens: int
    """Tokens of the documents kept; with full packing the eos of each is included."""
    extents: tuple[Extent, ...]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of the folder that is not a shard."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard file."""

    file: str
    rows: int
    bytes: int
    sha256: str
    unit: int = 0
    """Number of the unit it was made from."""
    padding: int = 0
    """Padding tokens at the end of its last row."""


@dataclass(frozen=True, kw_only=True)
class UnitEntry:
    """A part of the input that is prepared by itself: several small files, one, or part of one."""

    number: int
    documents: FileEntry
    """Table of the documents kept, in order: source, line, characters, tokens, hash, split."""
    bands: FileEntry | None = None
    """Signatures of near duplicates; None if they were not searched."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One of the two parts of the rows: train or validation."""

    documents: int
    characters: int
    tokens: int
    """Tokens of all documents, counted as in `Source`; divided by `characters`, it converts a loss
    per token to a loss per character."""
    rows: int
    padding: int
    """Padding tokens at the ends of the shards."""
    dropped_tokens: int
    """Tokens that are in no row; 0 with full packing."""
    dropped_documents: int
    """Documents without any token in a row; 0 with full packing."""
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True, kw_only=True)
class TokenizerInfo:
    """The tokenizer that made the ids."""

    name: str
    hash: str
    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int
    cls_id: int | None = None
    sep_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How documents were held out for validation."""

    hash: str
    validation_fraction: float
    block_tokens: int = 0
    """Tokens of a block, where parts of documents were held out because there were too few whole
    ones; each part counts as a document. 0: whole documents."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole manifest of a folder of shards."""

    tokenizer: TokenizerInfo
    row_length: int
    packing: str
    split_rule: SplitRule
    splits: dict[str, Split]
    sources: tuple[Source, ...]
    units: tuple[UnitEntry, ...] = ()
    extras: tuple[FileEntry, ...] = ()
    """The other files: the list of records set aside, the tables of near duplicates, and the
    tokenizer."""
    options: dict[str, Any] = field(default_factory=dict)
    """Every option and every library version that the rows depend on."""
    unknown: dict[str, int] = field(default_factory=dict)
    """The texts that most often became the unknown token, with their counts."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that defines the rows, and of nothing else."""
        defining = {
            "format": FORMAT_VERSION,
            "tokenizer": self.tokenizer.hash,
            "row_length": self.row_length,
            "packing": self.packing,
            "shards": {n: [shard.sha256 for shard in s.shards] for n, s in self.splits.items()},
        }
        return hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest` into a folder of shards; the file appears only when it is complete."""
    table = {"format": FORMAT_VERSION, "fingerprint": manifest.fingerprint, **asdict(manifest)}
    if not manifest.split_rule.block_tokens:
        del table["split_rule"]["block_tokens"]  # so that earlier versions can read it
    text = json.dumps(table, ensure_ascii=False, indent=2) + "\n"
    write_whole(folder / MANIFEST, text)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of shards.

    Raises:
        UserError: The file is missing, damaged or of another version of the format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no manifest.json" if folder.is_dir() else "is not a folder"
        raise UserError(
            f"{folder} {what}, so it holds no shards; make them with `python -m data_tools prepare "
            f"--input 'corpus/**/*.csv' {command('--output', folder)}`"
        )
    try:
        table = json.loads(path.read_text("utf-8", "surrogateescape"))
        version = table.pop("format")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path}: format {version}, but this version of gpt2zh reads {FORMAT_VERSION}; "
                "prepare the shards again, or use the version that made them"
            )
        fingerprint = table.pop("fingerprint")
        manifest = _build(table)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, OSError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); prepare the shards again"
        ) from error
    if manifest.fingerprint != fingerprint:
        raise UserError(
            f"{path} was altered: its fingerprint is {fingerprint[:16]}, its content gives "
            f"{manifest.fingerprint[:16]}; restore it or prepare the shards again"
        )
    return manifest


def _build(table: dict[str, Any]) -> Manifest:
    return Manifest(
        tokenizer=TokenizerInfo(**table["tokenizer"]),
        row_length=table["row_length"],
        packing=table["packing"],
        split_rule=SplitRule(**table["split_rule"]),
        splits={name: build_split(split) for name, split in table["splits"].items()},
        sources=tuple(build_source(source) for source in table["sources"]),
        units=tuple(build_unit(unit) for unit in table["units"]),
        extras=tuple(FileEntry(**entry) for entry in table["extras"]),
        options=table["options"],
        unknown=table["unknown"],
    )


def build_split(table: dict[str, Any]) -> Split:
    """Build a `Split` from what `asdict` made of it."""
    shards = tuple(ShardEntry(**entry) for entry in table["shards"])
    return Split(**table | {"shards": shards})


def build_source(table: dict[str, Any]) -> Source:
    """Build a `Source` from what `asdict` made of it."""
    fates = {name: Count(**count) for name, count in table["fates"].items()}
    extents = tuple(Extent(**extent) for extent in table["extents"])
    return Source(**table | {"fates": fates, "extents": extents})


def build_unit(table: dict[str, Any]) -> UnitEntry:
    """Build a `UnitEntry` from what `asdict` made of it."""
    bands = FileEntry(**table["bands"]) if table["bands"] else None
    return UnitEntry(number=table["number"], documents=FileEntry(**table["documents"]), bands=bands)
