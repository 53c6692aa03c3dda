"""What each verb of `python -m data_tools` can be told: every option, its default and its unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_tools.clean.options import CleanConfig
from data_tools.sources.options import InputConfig


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(CleanConfig, InputConfig):
    """From files of text to a folder of shards."""

    output: Path
    """Folder of shards to make. It grows as OUTPUT.partial and gets its name when it is complete;
    killed, the same command goes on where it stopped."""
    tokenizer: str = "builtin"
    """builtin, bert-base-chinese, a BERT vocab.txt, or a folder with a tokenizer.json."""
    row_length: int = 512
    """Tokens per row. Under full packing, training can read the rows in any other length."""
    packing: Literal["full", "zero_nlp"] = "full"
    """full: documents follow one another, each closed by eos, nothing is dropped. zero_nlp: only
    whole chunks of [CLS] row_length-2 [SEP] of each document, the rest is dropped and counted."""
    validation_fraction: float = 0.005
    """Share of the documents held out for validation, chosen by a hash of their text; 0 holds out
    none."""
    unit_bytes: int = 32_000_000
    """Bytes of input that are prepared at a time and become a shard of their own."""
    shard_rows: int = 65536
    """Most rows of a shard file; 65536 rows of 512 tokens are 64 MiB."""
    workers: int = 0
    """Processes; 0 takes one for each core. The result does not depend on them."""
    append: bool = False
    """Add the files that are new to the shards in the output, which stay as they are."""
    overwrite: bool = False
    """Replace the output folder if it holds shards of an earlier preparation."""
    restart: bool = False
    """Discard what an unfinished preparation left in OUTPUT.partial, and begin anew."""
    part: int = 0
    """Prepare only this part of the work, from 1 to --parts; `finish` joins the parts."""
    parts: int = 1
    """Parts into which the work is divided, for several machines."""


@dataclass(frozen=True, kw_only=True)
class FinishConfig:
    """Join the parts that `prepare --part I --parts N` made."""

    shards: Path
    """The output folder of the parts."""
    workers: int = 0
    """Processes; 0 takes one for each core."""


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig(InputConfig):
    """From files of text to a tokenizer of the builtin kind.

    An input GLOB@5000000 takes at most so many characters of it, so that a large corpus does not
    drown a small one.
    """

    output: Path
    """Folder for tokenizer.json and tokenizer_config.json; it must not exist yet."""
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
