"""What `doctor` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_tools.sources.options import InputConfig


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(InputConfig):
    """Look at a sample of a corpus before hours are spent on it."""

    tokenizer: str = "builtin"
    """builtin, bert-base-chinese, a BERT vocab.txt, or a folder with a tokenizer.json."""
    row_length: int = 512
    """Tokens per row, for the forecast."""
    sample: int = 20_000_000
    """Bytes of text to look at, spread over all files by their size; 20 MB take some seconds."""
    repair: Path | None = None
    """Folder to make: the BERT vocabulary of --tokenizer with all its ids, and new ones behind them
    for what it cannot write back."""
    json: Path | None = None
    """File for everything that was found, machine-readable."""
