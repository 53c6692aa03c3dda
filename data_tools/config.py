"""What each verb of `python -m data_tools` can be told: every option, its default and its unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """From CSV files to a folder of shards."""

    input: tuple[str, ...]
    """CSV files to read: quoted globs ('corpus/**/*.csv'), folders or files; read in sorted
    order."""
    output: Path
    """Folder of shards to make; it appears when it is complete."""
    content_column: str = "content"
    """Name of the column that holds the text; the other columns are not read."""
    tokenizer: str = "builtin"
    """builtin, bert-base-chinese, a BERT vocab.txt, or a folder with a tokenizer.json."""
    row_length: int = 512
    """Tokens per row; the context length of the model that will be trained."""
    packing: Literal["full", "zero_nlp"] = "full"
    """full: documents follow one another, each closed by eos, nothing is dropped. zero_nlp: only
    whole chunks of [CLS] row_length-2 [SEP] of each document, the rest is dropped and counted."""
    validation_fraction: float = 0.005
    """Share of the documents held out for validation, chosen by a hash of their text; 0 holds out
    none."""
    shard_rows: int = 65536
    """Rows per shard file; 65536 rows of 512 tokens are 64 MiB."""
    overwrite: bool = False
    """Replace the output folder if it holds shards of an earlier preparation."""


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig:
    """From CSV files to a tokenizer of the builtin kind."""

    input: tuple[str, ...]
    """CSV files to learn from: quoted globs, folders or files. GLOB@5000000 takes at most so many
    characters of it, so that a large corpus does not drown a small one."""
    output: Path
    """Folder for tokenizer.json and tokenizer_config.json; it must not exist yet."""
    content_column: str = "content"
    """Name of the column that holds the text."""
    vocab_size: int = 32000
    """Ids of the tokenizer: special tokens, bytes, characters and merges."""
    alphabet: Literal["gb2312", "corpus"] = "gb2312"
    """Characters with a token of their own: all of GB2312 and what the inputs use often, or, for a
    toy, just those of the inputs; all others are spelled in bytes."""
    limit: int = 10_000_000
    """Characters taken at most from each input that names no number itself; documents are chosen
    by a hash of their text."""


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Check a folder of shards."""

    shards: Path
    """Folder that prepare made."""
