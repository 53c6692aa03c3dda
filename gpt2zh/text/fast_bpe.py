"""Encode with the builtin kind of BPE, compiled, with the same ids as Hugging Face's tokenizer.

Hugging Face's regular expressions decide which characters belong to a class of the pattern. They
are asked for a page of code points when a text first needs it. Merging is done here.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, pre_tokenizers

from gpt2zh.text.kernels.bpe import (
    LONGEST_CACHED,
    LONGEST_SEGMENT,
    NO_PAIR,
    Merges,
    Scratch,
    SegmentCache,
    add_neighbours,
    add_pairs,
    scan_bpe,
)
from gpt2zh.text.kernels.pieces import CLASS_BITS, CLASSES, PATTERN, PROBED
from gpt2zh.text.kernels.scan import DONE, FULL, LONG, PAGE
from gpt2zh.text.kernels.utf8 import PAGE_BITS, POINTS
from gpt2zh.text.span_work import SpanWork
from gpt2zh.text.training import BYTE_TOKENS

_CACHED_SEGMENTS = 1 << 16
_NEIGHBOURS = 1 << 17  # bytes

_SPLIT = {
    "type": "Split",
    "pattern": {"Regex": PATTERN},
    "behavior": "Isolated",
    "invert": False,
}


def is_builtin_bpe(backend: Tokenizer) -> bool:
    """Return whether `BpeEncoder` gives the ids of this tokenizer."""
    spec = json.loads(backend.to_str())
    model = spec["model"]
    return (
        spec["normalizer"] is None
        and spec["pre_tokenizer"] == _SPLIT
        and model["type"] == "BPE"
        and model["byte_fallback"]
        and not any(model[key] for key in ("dropout", "unk_token", "ignore_merges"))
        and not model["continuing_subword_prefix"]
        and not model["end_of_word_suffix"]
        and all(byte in model["vocab"] for byte in BYTE_TOKENS)
        and max(model["vocab"].values()) + 1 < 1 << 32 - CLASS_BITS
        # Byte tokens must never merge, and no merge may build one.
        and not set(BYTE_TOKENS) & {part for a, b in model["merges"] for part in (a, b, a + b)}
        and backend.encode_special_tokens
        and all(token["special"] for token in spec["added_tokens"])
    )


class BpeEncoder:
    """A `SpanEncoder` for tokenizers that `is_builtin_bpe` accepts."""

    kind = "bpe"

    def __init__(self, backend: Tokenizer, *, dtype: np.dtype) -> None:
        """Build the tables; pages of code points are filled later.

        Args:
            backend: The tokenizer whose ids are reproduced.
            dtype: Type of the ids.
        """
        self.unknown: Counter[str] = Counter()  # stays empty: all bytes have tokens
        model = json.loads(backend.to_str())["model"]
        self._model = backend.model
        self._vocab: dict[str, int] = model["vocab"]
        self._dtype = dtype
        self._table = np.zeros(POINTS, np.uint32)  # unused pages take no memory
        # For each class a splitter that removes its characters.
        self._outside = [
            pre_tokenizers.Split(Regex(expression), behavior="removed")
            for expression in CLASSES.values()
        ]
        self._merges = _build_merges(self._vocab, model["merges"])
        self._cache = SegmentCache(
            segments=np.zeros((_CACHED_SEGMENTS, LONGEST_CACHED), np.int32),
            ids=np.zeros((_CACHED_SEGMENTS, LONGEST_CACHED), np.int32),
            lengths=np.zeros((_CACHED_SEGMENTS, 2), np.int32),
        )
        self._scratch = Scratch(
            symbols=np.zeros(LONGEST_SEGMENT, np.int64), results=np.zeros(LONGEST_SEGMENT, np.int64)
        )

    def encode(
        self, data: np.ndarray, begins: np.ndarray, ends: np.ndarray, *, closing_id: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode documents; see `SpanEncoder.encode`."""
        work = SpanWork(data, begins, ends, closing_id=closing_id, dtype=self._dtype)
        status = None
        while status != DONE:
            status = scan_bpe(work.documents, self._table, self._merges, self._cache, self._scratch)
            if status == PAGE:
                self._probe(work.asked_page())
            elif status == FULL:
                work.grow()
            elif status == LONG:
                # Hugging Face's model merges in n log n steps, the kernel in n squared.
                work.answer([token.id for token in self._model.tokenize(work.asked_text())])
        return work.result()

    def _probe(self, page: int) -> None:
        """Fill a page of the table with the classes of its code points."""
        begin, end = page << PAGE_BITS, (page + 1) << PAGE_BITS
        if 0xD800 <= begin < 0xE000 or begin >= 0x110000:
            raise ValueError(f"code point {begin:#x} is not valid in UTF-8")
        text = "".join(map(chr, range(begin, end)))
        tokens = [self._vocab.get(char, -1) + 1 for char in text]
        codes = np.array(tokens, np.uint32) << CLASS_BITS | PROBED
        for bit, outside in enumerate(self._outside):
            inside = np.ones(len(text), bool)
            for _, (first, stop) in outside.pre_tokenize_str(text):
                inside[first:stop] = False
            codes |= inside.astype(np.uint32) << bit
        self._table[begin:end] = codes


def _build_merges(vocab: dict[str, int], merges: list[Any]) -> Merges:
    """Build the tables of the merges, which are given in the order of their ranks."""
    rows = np.array(
        [
            (vocab[a] << 32 | vocab[b], rank << 32 | vocab[a + b])
            for rank, (a, b) in enumerate(merges)
        ],
        np.int64,
    ).reshape(-1, 2)
    pairs = np.full((1 << max(4, (2 * len(rows)).bit_length()), 2), NO_PAIR, np.int64)
    add_pairs(pairs, rows)
    adjacent = sorted({pair for a, b in merges for pair in pairwise(a + b)})
    symbols = [(vocab[x] + 1, vocab[y] + 1) for x, y in adjacent if x in vocab and y in vocab]
    neighbours = np.zeros(_NEIGHBOURS, np.uint8)
    add_neighbours(neighbours, np.array(symbols, np.uint64).reshape(-1, 2))
    return Merges(pairs, neighbours, np.array([vocab[byte] for byte in BYTE_TOKENS], np.int64))
