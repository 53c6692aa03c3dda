"""The check for valid UTF-8 without NUL, compared with Python's decoder."""

from __future__ import annotations

import random

import numpy as np

from data_tools.sources.utf8_kernel import find_invalid, is_clean


def test_every_sequence_of_bytes_is_judged_as_python_judges_it() -> None:
    edges = [0x00, 0x01, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF]
    edges += [0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    generator = random.Random(0)
    texts = [bytes([a, b, c, 65]) for a in edges for b in edges for c in edges]
    texts += [bytes([*generator.choices(edges, k=4), *generator.choices(edges, k=2), 65])
              for _ in range(20_000)]  # fmt: skip
    texts += [("字" * 40).encode()[:n] + b"a" for n in range(100)]
    for text in texts:
        try:
            good = "\0" not in text.decode()
        except UnicodeDecodeError:
            good = False
        assert is_clean(np.frombuffer(text, np.uint8)) == good, text


def test_spans_are_judged_one_by_one() -> None:
    good = "好".encode()
    for texts, wanted in (
        ([good, good[:2], good[2:], b"", b"z", good], [1, 2]),  # valid as a whole
        ([good, b"", b"a\0", "😀".encode()[:3], b"z", good[1:], good], [2, 3, 5]),
        ([good, good[:2]], [1]),
        ([b"", b""], []),
        ([], []),
    ):
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        begins = ends - np.array([len(text) for text in texts], np.int64)
        data = np.frombuffer(b"".join(texts), np.uint8)
        assert find_invalid(data, begins, ends).tolist() == wanted
