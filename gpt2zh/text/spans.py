"""Encode documents in one buffer to token ids in one array, as fast as the tokenizer allows.

There are three encoders with equal ids: compiled ones for WordPiece and for the builtin kind of
BPE, and Hugging Face's own for all others. Hugging Face always decides the ids: the compiled
encoders ask it how each character behaves, and `benchmarks/parity.py` compares them on whole
corpora. They are compiled by numba, not written in C, so users need no compiler.
Shapes: `n` documents, `s` bytes, `t` tokens.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np

from gpt2zh.text.fast_bpe import BpeEncoder, is_builtin_bpe
from gpt2zh.text.fast_wordpiece import WordPieceEncoder, is_bert_wordpiece
from gpt2zh.text.id_type import token_dtype
from gpt2zh.text.tokenizer import TextTokenizer, cut_text

# A compiled encoder must get these right before it is used for a tokenizer.
_PROBES = (
    "",
    " ",
    "从前有座山，山里有座庙。\n\n庙里有个老和尚！",
    "  Hello, WORLD! isn't it?  \r\n\tnaïve café e\u0301 \u0301",
    "2024年10月1日 3.14159 １２ＡＢ ①〇卅⺀ ⺀",
    "“双引号” ‘单引号’ …… —— · 《书名》 ======== a-b_c",
    "<eos> <pad> <bos> [SEP] [CLS] [UNK] <0x41> <0xE4> ##ab",
    "日本語かな 한국어 ไทย 😀👍🏽 龘䶮𠮷𪚥 ≠ \ue000a\ue000b",
    "\ufeff\u200b\u2028\u0085\u3000\xa0\x7f \ufe0f",
    "a" * 101 + " " + "的" * 300 + "-" * 300,
)


class SpanEncoder(Protocol):
    """Encodes documents that are spans of a buffer."""

    kind: str
    """Kind of encoder: wordpiece, bpe or plain."""
    unknown: Counter[str]
    """How often each text became the unknown token: a character alone, or a word (or a run of word
    characters) that contains one. Callers may clear it."""

    def encode(
        self, data: np.ndarray, begins: np.ndarray, ends: np.ndarray, *, closing_id: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode documents.

        Args:
            data: (s,) uint8, valid UTF-8.
            begins: (n,) int64, first byte of each document.
            ends: (n,) int64, one past the last.
            closing_id: Added after each document; None adds nothing.

        Returns:
            ids (t,) uint16 or uint32, all documents one after the other, and counts (n,) int64,
            the number of tokens of each document, with the closing one.
        """
        ...


class PlainEncoder:
    """Encodes with Hugging Face's tokenizer; the other encoders must give equal ids."""

    kind = "plain"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.unknown: Counter[str] = Counter()
        self._tokenizer = tokenizer
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._unknown_id = tokenizer.unk_id

    def encode(
        self, data: np.ndarray, begins: np.ndarray, ends: np.ndarray, *, closing_id: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode documents; see `SpanEncoder.encode`."""
        raw = data.tobytes()
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        texts = [raw[b:e].decode("utf-8") for b, e in spans]
        encoded = self._tokenizer.encode_batch(texts)
        closing = [] if closing_id is None else [closing_id]
        counts = np.fromiter((len(ids) + len(closing) for ids in encoded), np.int64, len(encoded))
        ids = np.empty(int(counts.sum()), self._dtype)
        end = 0
        for text, document in zip(texts, encoded, strict=True):
            begin, end = end, end + len(document) + len(closing)
            ids[begin:end] = document + closing
            if self._unknown_id is not None and self._unknown_id in document:
                self._count_unknown(text)
        return ids, counts

    def _count_unknown(self, text: str) -> None:
        for piece in cut_text(text):
            encoding = self._tokenizer._backend.encode(piece, add_special_tokens=False)
            for number, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
                if number == self._unknown_id:
                    self.unknown[piece[begin:end]] += 1


def make_encoder(tokenizer: TextTokenizer) -> SpanEncoder:
    """Return the fastest encoder that gives the ids of `tokenizer`."""
    backend, plain = tokenizer._backend, PlainEncoder(tokenizer)
    fast: SpanEncoder
    if is_bert_wordpiece(backend):
        fast = WordPieceEncoder(backend, dtype=token_dtype(tokenizer.vocab_size))
    elif is_builtin_bpe(backend):
        fast = BpeEncoder(backend, dtype=token_dtype(tokenizer.vocab_size))
    else:
        return plain
    is_equal = _encode_probes(fast) == _encode_probes(plain)
    plain.unknown.clear()
    fast.unknown.clear()
    return fast if is_equal else plain


def _encode_probes(encoder: SpanEncoder) -> tuple[list[int], list[int]]:
    texts = [probe.encode() for probe in _PROBES]
    ends = np.cumsum([len(text) for text in texts])
    begins = np.append(0, ends[:-1])
    data = np.frombuffer(b"".join(texts), np.uint8)
    ids, counts = encoder.encode(data, begins, ends, closing_id=0)
    return ids.tolist(), counts.tolist()
