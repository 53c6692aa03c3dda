"""The scan of WordPiece: single characters by table, runs by cache, and what it asks for."""

from __future__ import annotations

import numpy as np
import pytest
from scanning import CLOSING, work_of, written

from gpt2zh.text.kernels.scan import AT, CROWDED, DONE, FULL, LONG, MISSING, PAGE
from gpt2zh.text.kernels.utf8 import PAGE_BITS, POINTS
from gpt2zh.text.kernels.wordpiece import (
    ALONE,
    LONGEST_WORD,
    SPACE,
    UNKNOWN,
    WORD,
    WORDS_USED,
    UnknownCounts,
    _find,
    scan_wordpiece,
)
from gpt2zh.text.span_work import SpanWork
from gpt2zh.text.word_cache import WordCache

UNKNOWN_ID = 1


def ids_of(words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A token for each letter; z has none."""
    ids = [UNKNOWN_ID if letter == "z" else ord(letter) for word in words for letter in word]
    return np.array(ids, np.uint32), np.array([len(word) for word in words])


class Kernel:
    """A scan with its tables: letters make runs, a Han character is token 7, `?` is unknown."""

    def __init__(self) -> None:
        self.cache = WordCache(ids_of, unknown_id=UNKNOWN_ID)
        self.unknown = UnknownCounts(
            counts=np.zeros(POINTS + 16, np.int64),
            met=np.zeros(POINTS + 16, np.int32),
            number=np.zeros(1, np.int64),
            token=UNKNOWN_ID,
        )
        self.table = np.zeros(POINTS, np.uint32)
        self.table[[ord(letter) for letter in "abcz"]] = WORD
        self.table[ord("\u7684")] = ALONE + 7
        self.table[ord(" ")], self.table[ord("?")] = SPACE, UNKNOWN

    def scan(self, work: SpanWork) -> int:
        return int(scan_wordpiece(work.documents, self.table, self.cache.words, self.unknown))

    def counted(self) -> dict[int, int]:
        met = self.unknown.met[: self.unknown.number[0]]
        return {int(index): int(self.unknown.counts[index]) for index in met}


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_characters_that_stand_alone_need_no_cache(kernel: Kernel) -> None:
    work = work_of(["\u7684 ?\u7684", "", "?"])
    assert kernel.scan(work) == DONE
    assert written(work) == [7, UNKNOWN_ID, 7, CLOSING, CLOSING, UNKNOWN_ID, CLOSING]
    assert work.documents.stops.tolist() == [4, 5, 7]
    assert kernel.counted() == {ord("?"): 2} and kernel.cache.words.used[WORDS_USED] == 0


def test_new_runs_of_all_documents_are_collected_before_any_is_written(kernel: Kernel) -> None:
    work = work_of(["\u7684ab", "z ab?"])
    assert kernel.scan(work) == MISSING
    assert written(work) == [7] and work.documents.state[AT] == len("\u7684".encode())
    assert kernel.cache.words.used[WORDS_USED] == 2 and kernel.counted() == {}
    kernel.cache.resolve()
    assert kernel.scan(work) == DONE
    assert written(work) == [7, *b"ab", CLOSING, UNKNOWN_ID, *b"ab", UNKNOWN_ID, CLOSING]
    assert kernel.counted() == {POINTS + 1: 1, ord("?"): 1}  # the second run, which is `z`


def test_a_run_that_is_too_long_waits_for_the_words_before_it(kernel: Kernel) -> None:
    fits, long = "a" * LONGEST_WORD, "b" * (LONGEST_WORD + 1)
    work = work_of([f"{fits} {long} c"], room=999)
    assert kernel.scan(work) == MISSING
    kernel.cache.resolve()
    assert kernel.scan(work) == LONG and work.asked_text() == long
    work.answer([55])
    assert kernel.scan(work) == MISSING
    kernel.cache.resolve()
    assert kernel.scan(work) == DONE
    assert written(work) == [*fits.encode(), 55, ord("c"), CLOSING]


def test_a_page_that_is_not_known_is_asked_for_at_a_start_and_within_a_run(kernel: Kernel) -> None:
    for text in ("y", "aby"):
        work = work_of([text])
        assert kernel.scan(work) == PAGE and work.asked_page() == ord("y") >> PAGE_BITS
    assert kernel.cache.words.used[WORDS_USED] == 0  # a run whose end is unknown is not kept


def test_a_cache_without_room_for_one_more_run_says_so(kernel: Kernel) -> None:
    kernel.cache.words = kernel.cache.words._replace(keys=np.zeros(3, np.uint8))
    assert kernel.scan(work_of(["ab a"])) == MISSING
    assert kernel.scan(work_of(["ab bc"])) == CROWDED


@pytest.mark.parametrize("room", [0, 1, 2, 3, 4])
def test_a_scan_that_runs_out_of_room_continues_where_it_stood(kernel: Kernel, room: int) -> None:
    kernel.scan(work_of(["abc"]))
    kernel.cache.resolve()
    work = work_of(["\u7684abc", "?"], room=room)
    status = kernel.scan(work)
    assert status == FULL
    while status == FULL:
        work.grow(len(work.documents.out) + 1)
        status = kernel.scan(work)
    assert status == DONE
    assert written(work) == [7, *b"abc", CLOSING, UNKNOWN_ID, CLOSING]
    assert kernel.counted() == {ord("?"): 1}  # not again at every attempt


def test_words_of_equal_hash_are_distinguished(kernel: Kernel) -> None:
    data = np.frombuffer(b"abcabdab", np.uint8)
    spans = [(0, 3), (3, 6), (6, 8), (3, 6)]
    assert [_find(kernel.cache.words, data, *span, np.uint64(5)) for span in spans] == [0, 1, 2, 1]
