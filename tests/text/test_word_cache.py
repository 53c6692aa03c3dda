"""Words get their ids once; the room for ids grows, that for words does not."""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.wordpiece import (
    BYTES_USED,
    IDS,
    IS_UNKNOWN,
    KEY,
    SIZE,
    TOKENS,
    WORDS_USED,
)
from gpt2zh.text.word_cache import WordCache

UNKNOWN = 1


class Encoder:
    """Gives a word as many ids as it has characters, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked += words
        ids = [UNKNOWN if sign == "?" else ord(sign) for word in words for sign in word]
        return np.array(ids, np.uint32), np.array([len(word) for word in words])


def add(cache: WordCache, word: str) -> None:
    """Add a word as the kernels do."""
    data = np.frombuffer(word.encode(), np.uint8)
    words, begin = int(cache.words.used[WORDS_USED]), int(cache.words.used[BYTES_USED])
    cache.words.keys[begin : begin + len(data)] = data
    cache.words.entries[words, KEY], cache.words.entries[words, SIZE] = begin, len(data)
    cache.words.used[WORDS_USED] += 1
    cache.words.used[BYTES_USED] += len(data)


def ids_of(cache: WordCache, entry: int) -> list[int]:
    row = cache.words.entries[entry]
    return cache.words.ids[row[IDS] : row[IDS] + row[TOKENS]].tolist()


def test_each_word_is_asked_once_and_has_its_own_ids() -> None:
    encoder = Encoder()
    cache = WordCache(encoder, unknown_id=UNKNOWN)
    add(cache, "你好")
    add(cache, "a?")
    assert not cache.is_resolved()
    cache.resolve()
    add(cache, "bc")
    cache.resolve()
    assert cache.is_resolved() and encoder.asked == ["你好", "a?", "bc"]
    assert ids_of(cache, 0) == [ord("你"), ord("好")] and ids_of(cache, 2) == [98, 99]
    assert cache.text(1) == "a?"
    assert cache.words.entries[:3, IS_UNKNOWN].tolist() == [0, 1, 0]


def test_room_for_ids_grows_and_keeps_what_was_there() -> None:
    cache = WordCache(Encoder(), unknown_id=UNKNOWN)
    before = len(cache.words.ids)
    for word in ("first", "x" * before, "last"):
        add(cache, word)
        cache.resolve()
    assert len(cache.words.ids) > before
    assert bytes(ids_of(cache, 0)) == b"first" and bytes(ids_of(cache, 2)) == b"last"


def test_a_cleared_cache_knows_no_word() -> None:
    encoder = Encoder()
    cache = WordCache(encoder, unknown_id=UNKNOWN)
    for _ in range(2):
        add(cache, "word")
        cache.resolve()
        cache.clear()
    assert cache.is_resolved() and encoder.asked == ["word", "word"]
