"""A bounded cache of the ids of words: filled by Hugging Face's tokenizer, read by kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpt2zh.text.kernels.wordpiece import (
    BYTES_USED,
    COLUMNS,
    IDS,
    IS_UNKNOWN,
    KEY,
    SIZE,
    TOKENS,
    WORDS_USED,
    Words,
)

MOST_WORDS = 1 << 17
_MOST_BYTES = 4 << 20
_WORDS_AT_ONCE = 4096

Encode = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]
"""Takes words; returns the ids of all words, and the number of ids of each word."""


class WordCache:
    """Words and their ids; it is cleared when it is full."""

    def __init__(self, encode: Encode, *, unknown_id: int) -> None:
        """Make an empty cache.

        Args:
            encode: Returns the ids of new words.
            unknown_id: Words that contain this id are marked.
        """
        self._encode = encode
        self._unknown_id = unknown_id
        self._ids = np.zeros(1 << 16, np.uint32)
        self.clear()

    def clear(self) -> None:
        """Remove all words."""
        self.words = Words(
            slots=np.zeros(2 * MOST_WORDS, np.int32),
            entries=np.zeros((MOST_WORDS, COLUMNS), np.int64),
            keys=np.zeros(_MOST_BYTES, np.uint8),
            ids=self._ids,
            used=np.zeros(2, np.int64),
        )
        self._resolved = self._ids_used = 0

    def is_resolved(self) -> bool:
        """Return whether all words have their ids."""
        return bool(self._resolved == self.words.used[WORDS_USED])

    def resolve(self) -> None:
        """Get the ids of all words that do not have them yet."""
        used = int(self.words.used[WORDS_USED])
        for begin in range(self._resolved, used, _WORDS_AT_ONCE):
            stop = min(begin + _WORDS_AT_ONCE, used)
            ids, counts = self._encode(self._texts(begin, stop))
            entries = self.words.entries[begin:stop]
            entries[:, IDS] = self._ids_used + np.cumsum(counts) - counts
            word_of_id = np.repeat(np.arange(stop - begin), counts)
            entries[word_of_id[ids == self._unknown_id], IS_UNKNOWN] = 1
            entries[:, TOKENS] = counts
            self._append(ids)
        self._resolved = used

    def text(self, entry: int) -> str:
        """Return the word of an entry."""
        return self._texts(entry, entry + 1)[0]

    def _texts(self, begin: int, stop: int) -> list[str]:
        entries = self.words.entries[begin:stop]
        first = int(entries[0, KEY])
        keys = self.words.keys[first : int(self.words.used[BYTES_USED])].tobytes()
        begins, sizes = (entries[:, KEY] - first).tolist(), entries[:, SIZE].tolist()
        return [keys[b : b + s].decode("utf-8") for b, s in zip(begins, sizes, strict=True)]

    def _append(self, ids: np.ndarray) -> None:
        stop = self._ids_used + len(ids)
        if stop > len(self._ids):
            wider = np.zeros(2 * stop, np.uint32)
            wider[: self._ids_used] = self._ids[: self._ids_used]
            self._ids = wider
            self.words = self.words._replace(ids=wider)
        self._ids[self._ids_used : stop] = ids
        self._ids_used = stop
