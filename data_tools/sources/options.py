"""Options for the input: which files to read, and how to take documents from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpt2zh.config.paths import IS_PATH


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Options that say which files to read, and how."""

    input: tuple[str, ...] = field(metadata=IS_PATH)
    """Files to read: quoted globs ('corpus/**/*.csv'), folders or files, in sorted order. Formats:
    .csv, .tsv, .jsonl, .ndjson, .json, .txt, each also with .gz or .zst, and .parquet. Folders and
    globs leave out hidden files, trash folders and other formats, count them, and follow links to
    each folder and file once. A file that is named itself is always read."""
    content_column: str = "content"
    """Name of the column (CSV, Parquet) or key (JSON) that holds the text. Other columns are not
    read."""
    delimiter: str = "auto"
    """What separates the columns of CSV files: comma, tab, semicolon, pipe, or one ASCII character.
    auto takes a comma, in .tsv a tab; if the header has no such column then, the one of the four
    that gives it."""
    text_documents: Literal["file", "line", "block"] = "file"
    """What one document of a .txt file is: the whole file, a line, or a block of lines between
    blank lines. A file of more than 16 MB is read as blocks, or as lines if it has no blank lines;
    a block that is too long as lines."""
    encoding: Literal["auto", "utf-8", "utf-16", "gb18030"] = field(
        default="auto",
        metadata={
            "cure": "; gb18030 includes GBK and GB2312; convert other encodings to UTF-8, such as "
            "Big5: iconv -f BIG5 -t UTF-8 OLD > NEW"
        },
    )
    """Encoding of the files; gb18030 includes GBK and GB2312. auto detects it for each file, and
    reads rows of GB18030 in a file of UTF-8, and the reverse. gb18030 also keeps rows that are
    clearly UTF-8; utf-8 and utf-16 read nothing else."""
