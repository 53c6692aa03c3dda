"""Byte-pair merges by hand: their order, the cache, and what the scan asks for."""

from __future__ import annotations

import numpy as np
import pytest
from scanning import CLOSING, work_of, written

from gpt2zh.text.kernels.bpe import (
    LONGEST_CACHED,
    LONGEST_SEGMENT,
    NO_PAIR,
    SHORTEST_CACHED,
    Merges,
    Scratch,
    SegmentCache,
    add_neighbours,
    add_pairs,
    scan_bpe,
)
from gpt2zh.text.kernels.pieces import CLASS_BITS, CLASSES, PROBED
from gpt2zh.text.kernels.scan import ASKED, AT, DONE, FULL, LONG, PAGE
from gpt2zh.text.kernels.utf8 import PAGE_BITS, POINTS
from gpt2zh.text.span_work import SpanWork

VOCAB = {"a": 10, "b": 11, "c": 12, "d": 13, "ab": 20, "abc": 21, "bc": 22, "aa": 23}
MERGES = [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "a")]
FIRST_BYTE = 100
LETTER = 1 << list(CLASSES).index("letter")


class Kernel:
    """A scan with its tables: the letters a to d have tokens, x and the accent have none."""

    def __init__(self) -> None:
        rows = [
            (VOCAB[a] << 32 | VOCAB[b], rank << 32 | VOCAB[a + b])
            for rank, (a, b) in enumerate(MERGES)
        ]
        pairs = np.full((16, 2), NO_PAIR, np.int64)
        add_pairs(pairs, np.array(rows, np.int64))
        neighbours = np.zeros(16, np.uint8)
        touching = [(VOCAB[a] + 1, VOCAB[b] + 1) for a, b in ("ab", "bc", "aa")]
        add_neighbours(neighbours, np.array(touching, np.uint64))
        of_bytes = np.arange(FIRST_BYTE, FIRST_BYTE + 256)
        self.merges = Merges(pairs, neighbours, of_bytes)
        shape = (16, LONGEST_CACHED)
        self.cache = SegmentCache(
            np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros((16, 2), np.int32)
        )
        self.scratch = Scratch(
            np.zeros(LONGEST_SEGMENT, np.int64), np.zeros(LONGEST_SEGMENT, np.int64)
        )
        self.table = np.zeros(POINTS, np.uint32)
        for letter in "abcdx\u00e9":
            token = VOCAB.get(letter, -1) + 1
            self.table[ord(letter)] = token << CLASS_BITS | PROBED | LETTER

    def scan(self, work: SpanWork) -> int:
        return int(scan_bpe(work.documents, self.table, self.merges, self.cache, self.scratch))

    def encode(self, *texts: str) -> list[int]:
        work = work_of(texts)
        assert self.scan(work) == DONE
        return written(work)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("abc", [21]),  # ab comes before bc
        ("bcd", [22, 13]),
        ("aaa", [23, 10]),  # the leftmost of equals
        ("aab", [10, 20]),  # the lowest rank, not the leftmost
        ("abcabc", [21, 21]),
        ("axb", [10, FIRST_BYTE + ord("x"), 11]),
        ("\u00e9", [FIRST_BYTE + 0xC3, FIRST_BYTE + 0xA9]),
    ],
)
def test_merges_are_taken_by_rank_and_characters_without_a_token_by_bytes(
    kernel: Kernel, text: str, tokens: list[int]
) -> None:
    assert kernel.encode(text) == kernel.encode(text) == [*tokens, CLOSING]  # again: by the cache


def test_every_document_ends_with_its_token_and_starts_afresh(kernel: Kernel) -> None:
    work = work_of(["ab", "", "c"])
    assert kernel.scan(work) == DONE
    assert written(work) == [20, CLOSING, CLOSING, 12, CLOSING]  # abc is no word here
    assert work.documents.stops.tolist() == [2, 3, 5]


def test_only_segments_of_some_length_are_taken_from_the_cache(kernel: Kernel) -> None:
    assert len("abc") == SHORTEST_CACHED
    kernel.encode("abc", "ab")
    kernel.cache.ids[:] = 77  # a wrong cache shows where it is used
    assert kernel.encode("abc", "ab") == [77, CLOSING, 20, CLOSING]


def test_a_page_that_is_not_known_is_asked_for(kernel: Kernel) -> None:
    work = work_of(["abcz"])
    assert kernel.scan(work) == PAGE
    assert work.asked_page() == ord("z") >> PAGE_BITS and written(work) == []
    kernel.table[ord("z")] = PROBED | LETTER
    assert kernel.scan(work) == DONE
    assert written(work) == [21, FIRST_BYTE + ord("z"), CLOSING]


def test_a_segment_that_is_too_long_is_left_to_others(kernel: Kernel) -> None:
    fits, long = "a" * LONGEST_SEGMENT, "a" * (LONGEST_SEGMENT + 1)
    work = work_of([f"d{fits}d{long}d"], room=999)
    assert kernel.scan(work) == LONG
    assert work.asked_text() == long
    assert written(work) == [13, *[23] * (LONGEST_SEGMENT // 2), 13]
    work.answer([55])
    assert kernel.scan(work) == DONE and written(work)[-3:] == [55, 13, CLOSING]


@pytest.mark.parametrize("room", [0, 1, 2, 3, 4])
def test_a_scan_that_runs_out_of_room_continues_where_it_stood(kernel: Kernel, room: int) -> None:
    work = work_of(["abd", "xa"], room=room)
    status = kernel.scan(work)
    assert status == FULL
    while status == FULL:
        before = (work.documents.state[AT], written(work))
        work.grow(len(work.documents.out) + 1)
        assert (work.documents.state[AT], written(work)) == before
        status = kernel.scan(work)
    assert status == DONE and work.documents.state[ASKED] == 0
    assert written(work) == [20, 13, CLOSING, FIRST_BYTE + ord("x"), 10, CLOSING]
