"""Compare the ids of the compiled encoder with those of Hugging Face, and draw random strings."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gpt2zh.text.spans import SpanEncoder
from gpt2zh.text.tokenizer import TextTokenizer

_BATCH = 4_000_000  # characters
_LITERALS = ("[SEP]", "[UNK]", "[PAD]", "<eos>", "<pad>", "<0x41>", "<0xE4>", "##", "<|endoftext|>")
_SPACES = " \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u2003\u2028\u2029\u3000"
_DELETED = "\x00\x01\x7f\xad\u200b\u200d\u202e\u2060\ufeff\ufffd\ue000\uf8ff\U000f0000\U000e0041"
# Of several combining classes, 0 among them; some are not non-spacing marks and stay in a text.
_MARKS = "\u0300\u0301\u0327\u0338\u034f\u0591\u064b\u093c\u094d\u0e31\u302a\u302e\u3099\ufe0f"
_MARKS += "\U0001d165\U0001d16d\u1b44\u20dd"
_FOLDED = "ÀéñßİıſΣςŉǅﬁΐ①²½Ａｚ１９½ⅷ〇々⺀卅豈\ufa0e≠≮Å℮가힣각한がカ゛"
_SYMBOLS = "，。！？“”‘’…—·《》【】、|=-_*#.,:;'\"()/\\<>[]{}@&%$+~^`￥¥€★😀👍🏽❤👩🇨🇳"


def compare_all(
    encoder: SpanEncoder, tokenizer: TextTokenizer, texts: Iterable[str]
) -> dict[str, Any]:
    """Return how much was compared, how many texts differ, and the first that does."""
    total = {"texts": 0, "bytes": 0, "tokens": 0, "different": 0}
    first = None
    for batch in batches(texts):
        expected = tokenizer.encode_batch(batch)
        found = encode(encoder, batch)
        different = [n for n in range(len(batch)) if expected[n] != found[n]]
        if different and first is None:
            number = different[0]
            first = describe(batch[number], expected[number], found[number])
            first["number"] = total["texts"] + number
        total["texts"] += len(batch)
        total["bytes"] += sum(len(text.encode()) for text in batch)
        total["tokens"] += sum(map(len, expected))
        total["different"] += len(different)
    return {**total, "first_difference": first}


def encode(encoder: SpanEncoder, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text."""
    parts = [text.encode() for text in texts]
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    begins = ends - np.fromiter(map(len, parts), np.int64, len(parts))
    data = np.frombuffer(b"".join(parts), np.uint8)
    ids, counts = encoder.encode(data, begins, ends, closing_id=None)
    flat, stops = ids.tolist(), np.cumsum(counts)
    spans = zip((stops - counts).tolist(), stops.tolist(), strict=True)
    return [flat[begin:stop] for begin, stop in spans]


def describe(text: str, expected: list[int], found: list[int]) -> dict[str, Any]:
    """Return where two encodings of a text begin to differ."""
    same = 0
    while same < min(len(expected), len(found)) and expected[same] == found[same]:
        same += 1
    near = slice(max(0, same - 3), same + 8)
    excerpt = text if len(text) < 200 else text[:200] + "..."
    return {
        "text": ascii(excerpt),
        "token": same,
        "expected": expected[near],
        "found": found[near],
    }


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of some millions of characters, the last one shorter."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + 20
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def fuzz(seed: int, vocabulary: Sequence[str]) -> Iterator[str]:
    """Yield endless random strings, each of few kinds of characters and often repetitive.

    Args:
        seed: Equal seeds give equal strings.
        vocabulary: Texts of tokens, some of which are put in.
    """
    rng = random.Random(seed)
    kinds = _kinds(rng, vocabulary)
    while True:
        some = rng.choices(kinds, k=rng.randrange(1, 4))
        atoms = [rng.choice(some)() for _ in range(rng.choice((2, 4, 12, 40)))]
        text = "".join(rng.choices(atoms, k=rng.randrange(1, 30)))
        if rng.random() < 0.02:
            text += rng.choice(atoms) * rng.choice((90, 101, 300, 600))
        yield text


def _kinds(rng: random.Random, vocabulary: Sequence[str]) -> list[Callable[[], str]]:
    """Return functions that draw one atom of a kind each."""
    signs = [_SPACES, _DELETED, _MARKS, _FOLDED, _SYMBOLS, " ", "\r\n", " \n"]
    kinds = [functools.partial(rng.choice, some) for some in signs]
    return [
        *kinds,
        lambda: chr(rng.randrange(0x20, 0x7F)),
        lambda: rng.choice("abcXYZ0189"),
        lambda: chr(rng.randrange(0x4E00, 0xA000)),
        lambda: rng.choice("的一是不了人我在有他这中大来上国"),
        lambda: chr(rng.randrange(0x80, 0x3000)),
        lambda: chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x10000)))),
        lambda: chr(rng.randrange(0x10000, 0x110000)),
        lambda: rng.choice(_LITERALS),
        lambda: rng.choice(vocabulary),
        lambda: rng.choice(vocabulary),
    ]
