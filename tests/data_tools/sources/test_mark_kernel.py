"""The next mark or line end in a buffer."""

from __future__ import annotations

import re

import numpy as np
import pytest

from data_tools.sources.mark_kernel import find_mark, skip_line_end

COMMA = ord(",")


def buffer(data: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(data), np.uint8)


def test_the_first_mark_or_line_end_is_found_wherever_it_lies() -> None:
    generator = np.random.default_rng(0)
    signs = np.frombuffer(b",\n\r\x00\x01\x7f\x80\xff" + b"-\x0b\x0c\x2b" * 8, np.uint8)
    for _ in range(300):
        data = generator.choice(signs, 30).tobytes()
        begin, stop = sorted(generator.integers(0, 31, 2).tolist())
        match = re.compile(rb"[,\n\r]").search(data, begin, stop)
        wanted = match.start() if match else stop
        assert find_mark(buffer(data), begin, stop, COMMA) == wanted, (data, begin, stop)


@pytest.mark.parametrize("sign", [b",", b"\n", b"\r"])
@pytest.mark.parametrize("place", range(8))
def test_a_mark_is_found_at_each_place_of_a_word(sign: bytes, place: int) -> None:
    data = b"x" * (8 + place) + sign + b"," * (7 - place)
    assert find_mark(buffer(data), 0, 16, COMMA) == 8 + place
    assert find_mark(buffer(data), 0, 8 + place, COMMA) == 8 + place  # not beyond the stop


@pytest.mark.parametrize(
    ("data", "is_last", "after"),
    [
        (b"\n\n", False, 1),
        (b"\r\n", False, 2),
        (b"\rx", False, 1),
        (b"\r", True, 1),
        (b"\r", False, -1),
    ],
)
def test_a_line_end_is_skipped_unless_it_may_go_on(data: bytes, is_last: bool, after: int) -> None:
    assert skip_line_end(buffer(data), 0, len(data), is_last) == after
