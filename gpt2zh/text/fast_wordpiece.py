"""Encode with BERT's WordPiece, compiled, with the same ids as Hugging Face's tokenizer.

Hugging Face's tokenizer decides all ids. It is asked, for a page of code points when a text first
needs it, which code points are always a word alone (a hanzi, punctuation) or always a space. All
others form runs of word characters. Hugging Face encodes each new run, and its ids are cached.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from gpt2zh.text.kernels.scan import CROWDED, DONE, FULL, LONG, PAGE
from gpt2zh.text.kernels.utf8 import PAGE_BITS, POINTS
from gpt2zh.text.kernels.wordpiece import (
    ALONE,
    SPACE,
    UNKNOWN,
    UNPROBED,
    WORD,
    UnknownCounts,
    scan_wordpiece,
)
from gpt2zh.text.span_work import SpanWork
from gpt2zh.text.word_cache import MOST_WORDS, WordCache

_BORDERS = ",.!，。的"
_MOST_UNKNOWN = 100_000
_UNKNOWN_CHARACTERS = 40

# Two letters, each with a mark that no normalizer removes, of combining classes 224 and 216. When
# a text is decomposed, a combining character between these two marks changes its position. So it is
# not mistaken for a character that does not depend on its neighbours.
_LEFT, _RIGHT = "a\u302e", "\U0001d165a"


def is_bert_wordpiece(backend: Tokenizer) -> bool:
    """Return whether `WordPieceEncoder` gives the ids of this tokenizer."""
    model = backend.model
    added = backend.get_added_tokens_decoder().values()
    return (
        isinstance(model, models.WordPiece)
        and isinstance(backend.normalizer, normalizers.BertNormalizer)
        and isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and backend.token_to_id(model.unk_token) is not None
        and backend.encode_special_tokens
        and all(token.special for token in added)  # others would be split off before encoding
    )


class WordPieceEncoder:
    """A `SpanEncoder` for tokenizers that `is_bert_wordpiece` accepts."""

    kind = "wordpiece"

    def __init__(self, backend: Tokenizer, *, dtype: np.dtype) -> None:
        """Build the tables; pages of code points are filled later.

        Args:
            backend: The tokenizer whose ids are reproduced.
            dtype: Type of the ids.
        """
        self.unknown: Counter[str] = Counter()
        self._backend = backend
        self._dtype = dtype
        unknown_id = backend.token_to_id(backend.model.unk_token)
        assert unknown_id is not None, backend.model.unk_token
        self._unknown_id = unknown_id
        self._table = np.zeros(POINTS, np.uint32)  # unused pages take no memory
        self._between = (self._split(_LEFT), self._split(_RIGHT))
        self._cache = WordCache(self._encode, unknown_id=self._unknown_id)
        self._border = self._find_border()
        self._counts = UnknownCounts(
            counts=np.zeros(POINTS + MOST_WORDS, np.int64),
            met=np.zeros(POINTS + MOST_WORDS, np.int32),
            number=np.zeros(1, np.int64),
            token=self._unknown_id,
        )

    def encode(
        self, data: np.ndarray, begins: np.ndarray, ends: np.ndarray, *, closing_id: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode documents; see `SpanEncoder.encode`."""
        work = SpanWork(data, begins, ends, closing_id=closing_id, dtype=self._dtype)
        status = None
        while status != DONE:
            status = scan_wordpiece(work.documents, self._table, self._cache.words, self._counts)
            if status == PAGE:
                self._probe(work.asked_page())
            elif status == FULL:
                work.grow()
            elif status == LONG:
                work.answer(self._encode_run(work.asked_text()))
            elif status == CROWDED and self._cache.is_resolved():
                self._collect_unknown()
                self._cache.clear()
            self._cache.resolve()
        self._collect_unknown()
        return work.result()

    def _probe(self, page: int) -> None:
        """Fill a page of the table: how each code point behaves between two letters."""
        left, right = self._between
        for point in range(page << PAGE_BITS, (page + 1) << PAGE_BITS):
            code = WORD
            if point < 0x110000 and not 0xD800 <= point < 0xE000:
                words = self._split(f"{_LEFT}{chr(point)}{_RIGHT}")
                if words == left + right:
                    code = SPACE
                elif len(words) == 3 and [words[0], words[2]] == left + right:
                    tokens = self._backend.model.tokenize(words[1])
                    if len(tokens) == 1:
                        number = tokens[0].id
                        code = UNKNOWN if number == self._unknown_id else ALONE + number
            self._table[point] = code

    def _split(self, text: str) -> list[str]:
        normalized = self._backend.normalizer.normalize_str(text)
        return [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(normalized)]

    def _encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode runs of word characters, as one text if a border token can separate them."""
        if self._border is not None:
            border, border_id = self._border
            ids = np.array(self._encode_batch([border.join(texts)])[0], np.int64)
            borders = np.flatnonzero(ids == border_id)
            if len(borders) == len(texts) - 1:
                stops = np.append(borders, len(ids))
                return np.delete(ids, borders), np.diff(stops, prepend=-1) - 1
        lists = self._encode_batch(texts)
        counts = np.fromiter(map(len, lists), np.int64, len(lists))
        return np.fromiter(chain.from_iterable(lists), np.int64, int(counts.sum())), counts

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _find_border(self) -> tuple[str, int] | None:
        """Return a character that is always one token alone, and its id."""
        for border in _BORDERS:
            if self._table[ord(border)] == UNPROBED:
                self._probe(ord(border) >> PAGE_BITS)
            if self._table[ord(border)] >= ALONE:
                return border, int(self._table[ord(border)]) - ALONE
        return None

    def _encode_run(self, text: str) -> list[int]:
        """Encode a run that is too long for the cache."""
        ids = self._encode_batch([text])[0]
        if self._unknown_id in ids:
            self._add_unknown(text, 1)
        return ids

    def _collect_unknown(self) -> None:
        """Move the counts of the scan to `unknown`."""
        counts, met, number = self._counts.counts, self._counts.met, self._counts.number
        for index in met[: number[0]].tolist():
            text = chr(index) if index < POINTS else self._cache.text(index - POINTS)
            self._add_unknown(text, int(counts[index]))
            counts[index] = 0
        number[0] = 0

    def _add_unknown(self, text: str, count: int) -> None:
        """Count a text; if there are too many different texts, count it as the empty text."""
        text = text[:_UNKNOWN_CHARACTERS]
        is_new = text not in self.unknown
        self.unknown["" if is_new and len(self.unknown) >= _MOST_UNKNOWN else text] += count
