"""A tiny BERT vocabulary and the place of the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"的一是天今你好，。！[]<>/,.!?'()0123456789"]
TINY += [
    "hello",
    "world",
    "new",
    "york",
    "eos",
    "sep",
    "token",
    "##ize",
    "##r",
    "a",
    "##b",
    "Hello",
]


@pytest.fixture
def tiny_vocab(tmp_path: Path) -> Path:
    """Return a vocab.txt of 51 entries."""
    path = tmp_path / "tiny" / "vocab.txt"
    path.parent.mkdir()
    path.write_text("\n".join(TINY) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def bert_vocab() -> Path:
    """Return the real vocabulary of bert-base-chinese."""
    path = Path(__file__).parents[3] / "shared/data/bert-base-chinese/vocab.txt"
    if not path.is_file():
        pytest.skip(f"needs the vocabulary of bert-base-chinese at {path}")
    return path
