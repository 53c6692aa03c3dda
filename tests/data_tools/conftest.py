"""CSV files, a small BERT vocabulary, and the command line run in this process."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.__main__ import main
from data_tools.shards.split import document_hash, held_out

Command = Callable[..., int]

TEXTS = (
    "从前有座山，山里有座庙。",
    "第一行\n第二行，“引号”和‘单引号’…—\n\n  两个空格",
    'He said "hello", 然后走了。\tTab\r\nCRLF',
    "龘䶮😀 <eos> [SEP] <0x41> ＡＢＣ",
    "短",
)


def many_texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    pool = "".join(TEXTS) + "甲乙丙丁戊己庚辛"
    return [f"{i}：" + "".join(rng.choices(pool, k=rng.randrange(1, 90))) for i in range(count)]


def is_validation(text: str, fraction: float) -> bool:
    return bool(held_out(np.array([document_hash(text.encode())], np.uint64), fraction)[0])


def write_rows(
    path: Path,
    texts: Sequence[str] = TEXTS,
    *,
    header: Sequence[str] = ("id", "content", "date"),
    encoding: str = "utf-8",
    lineterminator: str = "\r\n",
) -> Path:
    """Write rows of texts as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        # Python's writer leaves a lone CR bare where the lines end in LF.
        quoting = csv.QUOTE_MINIMAL if "\r" in lineterminator else csv.QUOTE_ALL
        writer = csv.writer(file, lineterminator=lineterminator, quoting=quoting)
        writer.writerow(header)
        for number, text in enumerate(texts):
            writer.writerow([text if name == "content" else number for name in header])
    return path


def write_vocabulary(path: Path) -> Path:
    """Write a vocab.txt with the characters of `TEXTS`."""
    path.parent.mkdir()
    signs = sorted({sign for text in TEXTS for sign in text.lower() if not sign.isspace()})
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs]), "utf-8")
    return path


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes rows of texts as CSV, see `write_rows`."""

    def write(name: str, *arguments: Any, **options: Any) -> Path:
        return write_rows(tmp_path / name, *arguments, **options)

    return write


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs `python -m data_tools` with arguments; it gives the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["data_tools", *map(str, arguments)])
        return main()

    return run


@pytest.fixture
def bert_tokenizer(tmp_path: Path) -> Path:
    """Return a vocab.txt with the characters of `TEXTS`."""
    return write_vocabulary(tmp_path / "bert" / "vocab.txt")
