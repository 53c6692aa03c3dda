"""Texts of several languages, blocks of documents, and the real texts beside the project."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_tools.clean.minhash import SHINGLE
from data_tools.sources.block import Block, SetAside, join_spans

CORPORA = Path(__file__).parents[4] / "shared" / "data"

MODERN = "今天天气真好，我们去公园玩吧。"
POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
ENGLISH = "The quick brown fox jumps over the lazy dog, as every typist knows."
JAPANESE = (
    "これは日本語の文章です。今日はとても良い天気ですね。",
    "東京都は日本の首都である。",
    "私は昨日、図書館で本を三冊借りました。",
    "日本国憲法は、日本の最高法規である。",
    "彼女は大学で経済学を専攻しています。",
)


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


def shingles(text: str) -> set[str]:
    """Return the shingles of a text, by their definition."""
    signs = "".join(text.split())
    return {signs[at : at + SHINGLE] for at in range(max(1, len(signs) - SHINGLE + 1))}
