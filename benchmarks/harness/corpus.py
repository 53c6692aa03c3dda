"""Texts of CSV files, and shards of the demo corpus."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.harness.machine import ROOT
from data_tools.config import PrepareConfig, TrainTokenizerConfig
from data_tools.prepare.run import run as prepare
from data_tools.train_tokenizer import run as train_tokenizer

csv.field_size_limit(1 << 30)
_CHARACTERS_PER_TOKEN = 1.6  # at most, of the demo corpus


def texts_of(files: Iterable[Path], column: str = "content") -> Iterator[str]:
    """Yield the text of every record."""
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                yield row[column] or ""


def take_sample(files: list[Path], target: Path, size: float) -> None:
    """Copy records of each file into a new folder, `size` bytes in total."""
    total = sum(path.stat().st_size for path in files)
    target.mkdir(parents=True)
    for number, path in enumerate(files):
        budget = size * path.stat().st_size / total
        with (
            path.open(encoding="utf-8-sig", newline="") as old,
            (target / f"{number:04d}.csv").open("w", encoding="utf-8", newline="") as new,
        ):
            writer = csv.writer(new)
            for row in csv.reader(old):
                writer.writerow(row)
                if new.tell() > budget:
                    break


def demo_shards(folder: Path, *, rows: int, row_length: int, vocabulary: int) -> None:
    """Pack the demo corpus as often as so many rows need.

    Every time its documents come in another order, so hardly two rows are equal. With vocabulary 0
    the builtin tokenizer encodes them, else a new one with so many ids.
    """
    corpus, tokenizer = ROOT / "demo" / "corpus", "builtin"
    if vocabulary:
        tokenizer = str(folder.parent / "tokenizer")
        train_tokenizer(
            TrainTokenizerConfig(
                input=(f"{corpus}/**/*.csv",),
                output=Path(tokenizer),
                vocab_size=vocabulary,
                alphabet="corpus",
            )
        )
    texts = list(texts_of(sorted(corpus.rglob("*.csv"))))
    characters = rows * row_length * _CHARACTERS_PER_TOKEN
    source = folder.parent / "demo.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content"])
        for seed in range(1 + int(characters / sum(map(len, texts)))):
            random.Random(seed).shuffle(texts)
            writer.writerows([text] for text in texts)
    prepare(
        PrepareConfig(
            input=(str(source),),
            output=folder,
            tokenizer=tokenizer,
            row_length=row_length,
            validation_fraction=0.02,
            exact_duplicates="keep",
        )
    )
