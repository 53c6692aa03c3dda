"""Texts on which encoders are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from gpt2zh.text.spans import SpanEncoder
from gpt2zh.text.tokenizer import TextTokenizer
from tests.support import parity

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
ALPHABET = "的一是〇〡々⺀⻳aBcéßが한19½²,.!-—。 \u3000\xa0\t\n\r"
"""Some of each class of the pattern, and of two: numerals and radicals that are Han as well."""


def check_parity(encoder: SpanEncoder, tokenizer: TextTokenizer, texts: Sequence[str]) -> None:
    """Fail with the first difference from Hugging Face's ids."""
    assert texts
    report = parity.compare_all(encoder, tokenizer, texts)
    assert report["first_difference"] is None, report


def fuzz(tokenizer: TextTokenizer, count: int, *, seed: int = 0) -> list[str]:
    """Return random strings, with tokens of the vocabulary in them."""
    vocabulary = sorted(tokenizer._backend.get_vocab(with_added_tokens=True))
    return list(islice(parity.fuzz(seed, vocabulary), count))


def points_in_context() -> Iterator[list[str]]:
    """Yield every code point of the first plane and some of the others, in each context."""
    basic = [*range(0xD800), *range(0xE000, 0x10000)]
    points = [
        *basic,
        *range(0x10000, 0x110000, 131),
        *range(0x1F300, 0x1F700),
        *range(0x1D100, 0x1D200),
    ]
    for context in ("{0}", "a{0}a", "的{0}的", "{0}{0}", " {0}", "{0}\n"):
        yield [context.format(chr(point)) for point in points]


def encode(encoder: SpanEncoder, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text."""
    found: list[list[int]] = parity.encode(encoder, texts)
    return found
