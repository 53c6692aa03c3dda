"""Options of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data_tools.sources.options import InputConfig
from gpt2zh.config.paths import IS_PATH


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(InputConfig):
    """Examine a sample of a corpus before hours are spent on it."""

    tokenizer: str = field(default="builtin", metadata=IS_PATH)
    """builtin, bert-base-chinese, a BERT vocab.txt, or a folder with a tokenizer.json."""
    row_length: int = 512
    """Tokens per row, used for the forecast."""
    sample: int = 20_000_000
    """Bytes of text to examine, spread over all files by their size; 20 MB take a few seconds."""
    repair: Path | None = None
    """Folder to create for a repaired tokenizer: the BERT vocabulary of --tokenizer with all its
    ids, plus new ids for the characters that it cannot write back."""
    json: Path | None = None
    """File to write all results to, as JSON."""
