from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from gpt2zh.text.kernels.utf8 import blank_documents, count_characters, decode, is_blank


def spans(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a buffer with these texts, something between them, and where each begins and ends."""
    parts = [text.encode() for text in texts]
    begins = np.cumsum([1, *(len(part) + 1 for part in parts[:-1])])
    ends = begins + [len(part) for part in parts]
    return np.frombuffer(b"x" + b"x".join(parts) + b"x", np.uint8), begins, ends


def test_white_space_is_what_python_takes_for_it() -> None:
    blank = [point for point in range(sys.maxunicode + 1) if is_blank.py_func(point)]
    assert blank == [point for point in range(sys.maxunicode + 1) if chr(point).isspace()]


def test_characters_of_every_length_are_decoded() -> None:
    text = "\0\x7f\x80\u07ff\u0800中\ud7ff\ue000\uffff\U00010000😀\U0010ffff"
    data, at, found = np.frombuffer(text.encode(), np.uint8), 0, ""
    while at < len(data):
        point, at = decode.py_func(data, at, len(data))
        found += chr(point)
    assert found == text


def test_characters_are_counted_not_bytes() -> None:
    counts = count_characters(*spans(["", "abc", "中文", "é😀\n", "e\u0301"]))
    assert counts.tolist() == [0, 3, 2, 3, 2]


def test_a_document_of_white_space_alone_is_blank() -> None:
    texts = ["", " \t\r\n", "\u3000\u2028\u00a0", "\x0c\x85", "\u200b", " a", "中 ", "。"]
    assert blank_documents(*spans(texts)).tolist() == [True] * 4 + [False] * 4
