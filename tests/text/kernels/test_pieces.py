"""Pieces of a text: those of the regular expression, which Hugging Face's tokenizer uses."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from parity_cases import ALPHABET, encode, fuzz

from gpt2zh.text import training
from gpt2zh.text.fast_bpe import BpeEncoder
from gpt2zh.text.kernels.pieces import CLASSES, PATTERN, PROBED, find_piece_end
from gpt2zh.text.kernels.utf8 import POINTS
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


@pytest.fixture(scope="module")
def builtin() -> TextTokenizer:
    return load_tokenizer("builtin")


def test_pattern_is_that_of_the_trainer(builtin: TextTokenizer) -> None:
    assert PATTERN == training._PIECES
    assert json.loads(builtin._backend.to_str())["pre_tokenizer"]["pattern"]["Regex"] == PATTERN


def test_pieces_are_those_of_the_pattern(builtin: TextTokenizer) -> None:
    rng = random.Random(4)
    texts = ["".join(rng.choices(ALPHABET, k=rng.randrange(12))) for _ in range(10_000)]
    texts += fuzz(builtin, 3000, seed=2)
    encoder = BpeEncoder(builtin._backend, dtype=np.dtype(np.uint16))
    encode(encoder, texts)  # so that all pages are known
    split = builtin._backend.pre_tokenizer.pre_tokenize_str
    for text in texts:
        data = np.frombuffer(text.encode(), np.uint8)
        pieces, at = [], 0
        while at < len(data):
            stop, unprobed = find_piece_end(data, at, len(data), encoder._table)
            assert unprobed < 0
            pieces.append(data[at:stop].tobytes().decode())
            at = stop
        assert pieces == [piece for piece, _ in split(text)], ascii(text)


MEMBERS = {"han": "\u7684\u4e00", "letter": "ab", "number": "12", "other": "!-", "space": " \n"}


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Two members of each class; every other code point is unknown."""
    table = np.zeros(POINTS, np.uint32)
    for bit, name in enumerate(CLASSES):
        for character in MEMBERS.get(name, "\n"):
            table[ord(character)] |= PROBED | 1 << bit
    return table


def first_piece(text: str, table: np.ndarray) -> tuple[int, int]:
    data = np.frombuffer(text.encode(), np.uint8)
    end, unprobed = find_piece_end(data, 0, len(data), table)
    return int(end), int(unprobed)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("\u7684\u4e00ab", "\u7684\u4e00"),
        (" ab1", " ab"),
        (" \u7684", " "),  # no space belongs to Han
        ("12121", "1212"),  # at most four
        (" 12", " "),
        (" !-\n\na", " !-\n\n"),
        ("   ab", "  "),  # the last space belongs to the word
        ("   ", "   "),
        ("  \n  \n ab", "  \n  \n"),
    ],
)
def test_each_alternative_of_the_pattern_ends_its_piece(
    text: str, piece: str, table: np.ndarray
) -> None:
    assert first_piece(text, table) == (len(piece.encode()), -1)


@pytest.mark.parametrize("before", ["", "ab", " ", "  ", "!", "!\n", "12", "\u7684"])
def test_a_character_of_an_unknown_class_is_asked_for_instead_of_guessed(
    before: str, table: np.ndarray
) -> None:
    assert first_piece(f"{before}\u00e9 a", table)[1] == 0xE9
