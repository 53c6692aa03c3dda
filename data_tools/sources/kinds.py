"""Kinds of files: what the name says, and what the first bytes say."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_tools.sources.source import Compression, Format
from gpt2zh.config.errors import printable

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
KNOWN = ", ".join(FORMATS)
"""All suffixes that are read, for messages."""

HIDDEN, BROKEN, TWICE, FOLDER, OTHER = (
    "hidden",
    "broken link",
    "second link to a file",
    "folder",
    "without a known suffix",
)
"""Why something that is not of an unknown kind is left out."""

_TEXTS = (".text", ".md", ".markdown", ".rst", ".log", ".srt", ".html", ".htm", ".xml", ".tex")
_ARCHIVES = (".xz", ".bz2", ".zip", ".7z", ".rar", ".tar", ".tgz", ".lz4", ".lzma", ".z", ".br")
_BOOKS = (".pdf", ".doc", ".docx", ".epub", ".mobi", ".xls", ".xlsx", ".odt", ".rtf", ".azw3")
_CURES = (
    (_TEXTS, "rename text files such as {} to .txt"),
    (_ARCHIVES, "unpack {}, or compress again with gzip or zstd"),
    (_BOOKS, "convert {} to .txt"),
    ((BROKEN,), "repair the links or mount what they point to"),
    ((FOLDER,), "end the glob with /** to read folders"),
)
_KINDS_SHOWN = 8
_LONGEST_SUFFIX = 10
_PLURALS = {BROKEN: "broken links", TWICE: "second links to files", FOLDER: "folders"}

_MAGICS: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_STRANGE = (
    (b"\xfd7zXZ\x00", "compressed with xz", "decompress it, or compress it with gzip or zstd"),
    (b"BZh91AY&SY", "compressed with bzip2", "decompress it, or compress it with gzip or zstd"),
    (b"PK\x03\x04", "a zip archive (or .xlsx, .docx)", "unpack it, or save it as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it"),
    (b"PAR1\x15", "a Parquet file", "rename it to .parquet"),
    (b"%PDF-", "a PDF", "convert it to text"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", "save it as text or CSV"),
    (b"\x00\x05\x16\x07", "metadata of macOS without text", "delete it"),
    (b"SQLite format 3\x00", "an SQLite database", "export its text as CSV"),
)
MAGIC_BYTES = 16
"""First bytes of a file that `detect_compression` and `describe_stranger` need."""


def parse_suffixes(name: str) -> tuple[Format, Compression] | None:
    """Return format and compression by the name of a file; None if the format is unknown."""
    stem, suffix = os.path.splitext(name.lower())
    compression = COMPRESSIONS.get(suffix)
    if compression:
        suffix = os.path.splitext(stem)[1]
    file_format = FORMATS.get(suffix)
    if file_format is None or (compression and file_format == "parquet"):
        return None
    return file_format, compression or ""


def detect_compression(start: bytes) -> Compression:
    """Return the compression by the first bytes of a file."""
    return next((kind for magic, kind in _MAGICS if start.startswith(magic)), "")


def describe_stranger(start: bytes) -> str | None:
    """Return what a file is by its first bytes, with the cure; None if it may be text.

    Args:
        start: First bytes, `MAGIC_BYTES` or all.
    """
    found = (f"is {what}; {cure}" for magic, what, cure in _STRANGE if start.startswith(magic))
    return next(found, None)


def unknown_kind(name: str) -> str:
    """Return how a file of an unknown kind is counted: by its last suffix."""
    suffix = Path(name).suffix.lower()
    usable = 1 < len(suffix) <= _LONGEST_SUFFIX and suffix[1:].isalnum()
    return suffix if usable and parse_suffixes(f"a{suffix}") is None else OTHER


def describe_left_out(kinds: Sequence[str]) -> str:
    """Return how many files of each kind were left out, and what helps; "" if none were.

    Args:
        kinds: For each of them a suffix, or one of the reasons above.
    """
    if not kinds:
        return ""
    counts = Counter(kinds)
    ordered = sorted(counts, key=lambda kind: (not kind.startswith("."), -counts[kind], kind))
    shown = ordered if len(ordered) <= _KINDS_SHOWN else ordered[: _KINDS_SHOWN - 1]
    parts = [f"{counts[kind]} {_plural(kind, counts[kind])}" for kind in shown]
    if rest := sum(counts[kind] for kind in ordered[len(shown) :]):
        parts.append(f"{rest} of other kinds")
    cures = []
    for group, cure in _CURES:
        if hit := [kind for kind in ordered if kind in group]:
            cures.append(cure.format(" and ".join(hit[:3])))
    text = f"left out: {', '.join(parts)}"
    if any(kind.startswith(".") or kind == OTHER for kind in counts):
        text += f" (these are read: {KNOWN}, all but .parquet also with .gz or .zst)"
    return printable("; ".join([text, *cures]))


def _plural(kind: str, count: int) -> str:
    return _PLURALS.get(kind, kind) if count > 1 else kind
