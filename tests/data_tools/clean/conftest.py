"""Blocks of documents, and the real texts beside the project."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_tools.sources.block import Block, SetAside, join_spans

CORPORA = Path(__file__).parents[4] / "shared" / "data"


def make_block(texts: Sequence[str]) -> Block:
    """Return a block of these documents, with something between them and around them."""
    parts = [part for text in texts for part in ("间".encode(), text.encode())]
    data, begins, ends = join_spans([*parts, b"|"])
    numbers = np.arange(len(texts), dtype=np.int64)
    aside = (SetAside(line=9, reason="r", detail="d", excerpt="e", size=3),)
    return Block(data, begins[1:-1:2], ends[1:-1:2], numbers + 2, numbers + 100, aside, 7)


@pytest.fixture
def read_corpus() -> Callable[[str, int], list[str]]:
    """Return a function that reads the first documents of a real corpus."""

    def read(name: str, count: int) -> list[str]:
        path = CORPORA / name
        if not path.exists():
            pytest.skip(f"needs the real texts in {path}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts = (row["content"] for row in csv.DictReader(file))
            return list(itertools.islice((text for text in texts if text.strip()), count))

    return read
