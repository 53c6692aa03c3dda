"""What a folder of shards says about itself: where its rows come from and what they are.

The same inputs and options give the same bytes, so there is no date and no host in it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2zh.config.errors import UserError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
TOKENIZER_DIR = "tokenizer"
SET_ASIDE = "set_aside.jsonl"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One input file and what became of its rows."""

    path: str
    bytes: int
    documents: int
    """Documents taken."""
    characters: int
    tokens: int
    """Tokens of these documents, the closing eos of each included under full packing."""
    empty: int
    """Rows without text, which are left out."""
    set_aside: dict[str, int]
    """Broken rows by reason; they are listed in set_aside.jsonl."""


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard file."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Split:
    """One of the two parts of the rows: train or validation."""

    documents: int
    characters: int
    tokens: int
    """Tokens of all documents, counted as in `Source`; over `characters` it turns a loss per token
    into one per character."""
    rows: int
    padding: int
    """Padding tokens at the end of the last row."""
    dropped_tokens: int
    """Tokens in no row; 0 under full packing."""
    dropped_documents: int
    """Documents of which no token is in any row; 0 under full packing."""
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True, kw_only=True)
class TokenizerInfo:
    """Which tokenizer made the ids."""

    name: str
    hash: str
    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How documents were held out for validation."""

    hash: str
    validation_fraction: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is known about a folder of shards."""

    tokenizer: TokenizerInfo
    row_length: int
    packing: str
    split_rule: SplitRule
    splits: dict[str, Split]
    sources: tuple[Source, ...]

    @property
    def fingerprint(self) -> str:
        """Hash over what defines the rows, and nothing else."""
        defining = {
            "format": FORMAT_VERSION,
            "tokenizer": self.tokenizer.hash,
            "row_length": self.row_length,
            "packing": self.packing,
            "shards": {n: [shard.sha256 for shard in s.shards] for n, s in self.splits.items()},
        }
        return hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest` into a folder of shards."""
    table = {"format": FORMAT_VERSION, "fingerprint": manifest.fingerprint, **asdict(manifest)}
    text = json.dumps(table, ensure_ascii=False, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, "utf-8", "surrogateescape")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of shards.

    Raises:
        UserError: There is none, it is damaged, or another version of the format wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no manifest.json" if folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}, so it holds no shards; make them with "
            f"`python -m data_tools prepare --input 'corpus/**/*.csv' --output {folder}`"
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
    splits = {}
    for name, split in table["splits"].items():
        shards = tuple(ShardEntry(**entry) for entry in split.pop("shards"))
        splits[name] = Split(**split, shards=shards)
    return Manifest(
        tokenizer=TokenizerInfo(**table["tokenizer"]),
        row_length=table["row_length"],
        packing=table["packing"],
        split_rule=SplitRule(**table["split_rule"]),
        splits=splits,
        sources=tuple(Source(**source) for source in table["sources"]),
    )
