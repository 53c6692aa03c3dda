"""Options of the verbs of `python -m data_tools`, with their defaults and units."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_tools.clean.options import CleanConfig
from data_tools.sources.options import InputConfig
from gpt2zh.config.paths import IS_PATH


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(CleanConfig, InputConfig):
    """Convert text files to a folder of shards."""

    output: Path
    """Folder of shards to make. It is called OUTPUT.partial until it is complete. If the command is
    killed, run it again to continue where it stopped."""
    tokenizer: str = field(default="builtin", metadata=IS_PATH)
    """builtin, bert-base-chinese, a BERT vocab.txt, or a folder with a tokenizer.json."""
    row_length: int = 512
    """Tokens per row. With full packing, training can read rows of any other length."""
    packing: Literal["full", "zero_nlp"] = "full"
    """full: documents follow one another, each ends with eos, nothing is dropped. zero_nlp: each
    document is cut into chunks of [CLS] row_length-2 [SEP]; the rest is dropped and counted."""
    validation_fraction: float = 0.005
    """Share of the documents held out for validation, chosen by a hash of their text; 0: none.
    Where there are too few documents for that, as with one novel, blocks of them are held out."""
    unit_bytes: int = 32_000_000
    """Bytes of input that are prepared together and become one shard."""
    shard_rows: int = 65536
    """Maximum rows of a shard file; 65536 rows of 512 tokens take 64 MiB."""
    workers: int = 0
    """Number of processes; 0 uses one for each core, but one for a small input. The result does not
    depend on it."""
    append: bool = False
    """Add new input files to the shards in the output, which stay unchanged."""
    overwrite: bool = False
    """Replace the output folder if it holds shards."""
    restart: bool = False
    """Discard an unfinished preparation in OUTPUT.partial, and start again."""
    drop_changed: bool = False
    """Continue an unfinished preparation without the input files that are gone or changed since it
    began. Only the units that held them are made again."""
    part: int = 0
    """Prepare only this part of the work, from 1 to --parts; `finish` joins all parts."""
    parts: int = 1
    """Number of parts into which the work is divided, for several machines."""


@dataclass(frozen=True, kw_only=True)
class FinishConfig:
    """Join the parts that `prepare --part I --parts N` made."""

    shards: Path
    """The output folder of the parts."""
    drop_changed: bool = False
    """Leave out the input files that are gone or changed, if units with them are not made yet."""
    workers: int = 0
    """Number of processes; 0 uses one for each core, but one for a small input."""


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig(InputConfig):
    """Train a tokenizer of the builtin kind on text files.

    An input GLOB@5000000 takes at most 5,000,000 characters from these files, so that a large
    corpus does not outweigh a small one.
    """

    output: Path
    """New folder for tokenizer.json and tokenizer_config.json."""
    vocab_size: int = 32000
    """Number of ids: special tokens, bytes, characters and merges."""
    alphabet: Literal["gb2312", "corpus"] = "gb2312"
    """Characters that get their own token. gb2312: all of GB2312 and those that the inputs often
    use. corpus: only those of the inputs, for toy models. Others are spelled in bytes."""
    limit: int = 10_000_000
    """Maximum characters taken from each input without its own @number; documents are chosen by a
    hash of their text, and the last one is cut to fit."""


@dataclass(frozen=True, kw_only=True)
class CatConfig:
    """Show a row of tokens as text, and where each document in it comes from."""

    shards: Path
    """Folder that prepare made."""
    row: int
    """Number of the row in its split, from 0."""
    split: Literal["train", "validation"] = "train"
    """Split that the row belongs to."""
    ids: bool = False
    """Also print the token ids."""


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Check a folder of shards."""

    shards: Path
    """Folder that prepare made."""
