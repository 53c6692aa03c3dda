"""Shards of verses in several units and files, and the verses at the lines where they stand."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare

_LINES = ("从前有座山，山里有座庙。", "第一行\n第二行，“引号”和‘单引号’…—\n\n  两个空格")


def verses(count: int, seed: int) -> list[str]:
    """Return different texts of very different lengths, some of several lines."""
    rng = random.Random(seed)
    return [f"{i}。" + rng.choice(_LINES) * rng.randrange(1, 12) for i in range(count)]


def write(path: Path, texts: list[str]) -> None:
    """Write texts as a CSV, all of it quoted."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([["id", "content"], *enumerate(texts)])


def texts_by_line(path: Path) -> dict[int, str]:
    """Return the texts of a CSV by the line in which their record begins, with its header's."""
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        begin = 1
        for record in reader:
            found[begin] = record[1]
            begin = reader.line_num + 1
    return found


def prepare_verses(folder: Path) -> Path:
    """Return shards of two files in several units, each with several shard files, one appended.

    The rows have 16 tokens, a full shard has 10 of them.
    """
    write(folder / "in/one.csv", verses(60, 1))
    write(folder / "in/two.csv", verses(50, 2))
    config = PrepareConfig(
        input=(str(folder / "in"),),
        output=folder / "out",
        row_length=16,
        unit_bytes=3000,
        shard_rows=10,
        validation_fraction=0.2,
        workers=1,
    )
    prepare(config)
    write(folder / "in/z.csv", ["后来的文字。" * 9, *verses(20, 3)])
    prepare(replace(config, append=True))
    return folder / "out"
