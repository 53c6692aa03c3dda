"""What a user can say about the input: which files, and how to take documents from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Which files to read, and how."""

    input: tuple[str, ...]
    """Files to read: quoted globs ('corpus/**/*.csv'), folders or files; read in sorted order.
    Known are .csv, .jsonl, .ndjson, .json, .txt and .parquet; all but .parquet also with .gz or
    .zst behind."""
    content_column: str = "content"
    """Name of the column of CSV and Parquet files, or of the key of JSON objects, that holds the
    text; the others are not read."""
    text_documents: Literal["file", "line", "block"] = "file"
    """What is one document of a .txt file: the whole file, each line, or each block of lines
    between blank lines."""
    encoding: Literal["auto", "utf-8", "utf-16", "gb18030"] = "auto"
    """How the characters are encoded; gb18030 includes GBK and GB2312. auto looks into each file
    by itself."""
