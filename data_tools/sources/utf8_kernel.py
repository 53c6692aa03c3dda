"""Check whether bytes are valid UTF-8 without NUL, 32 bytes at a time."""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays


@compiled
def _is_out_of_place(byte, before, second, third):  # type: ignore[no-untyped-def]
    """Return 1 if a byte is NUL or cannot follow the three bytes before it in UTF-8, else 0."""
    follows = np.uint8(byte & np.uint8(0xC0) == 0x80)
    due = np.uint8(before >= 0xC0) | np.uint8(second >= 0xE0) | np.uint8(third >= 0xF0)
    wrong = follows ^ due | np.uint8(byte == 0) | np.uint8(byte > 0xF4)
    wrong |= np.uint8(byte & np.uint8(0xFE) == 0xC0)
    wrong |= np.uint8(before == 0xE0) & np.uint8(byte < 0xA0)
    wrong |= np.uint8(before == 0xED) & np.uint8(byte >= 0xA0)
    wrong |= np.uint8(before == 0xF0) & np.uint8(byte < 0x90)
    return wrong | np.uint8(before == 0xF4) & np.uint8(byte >= 0x90)


@compiled
def _has_wrong(data, before, second, third):  # type: ignore[no-untyped-def]
    """Return 1 if any byte is out of place, else 0.

    The four arguments are views of the same bytes, each shifted by one, so that LLVM can check 32
    bytes at a time.
    """
    wrong = np.uint8(0)
    for number in range(len(data)):
        wrong |= _is_out_of_place(data[number], before[number], second[number], third[number])
    return wrong


@compiled_with_arrays
def is_clean(data):  # type: ignore[no-untyped-def]
    """Return whether all bytes are valid UTF-8 without NUL; the last character may be cut off."""
    head = np.zeros(6, np.uint8)
    size = min(3, len(data))
    head[3 : 3 + size] = data[:size]
    wrong = _has_wrong(head[3 : 3 + size], head[2:], head[1:], head)
    if len(data) > 3:
        wrong |= _has_wrong(data[3:], data[2:], data[1:], data)
    return wrong == 0


@compiled_with_arrays
def find_invalid(data, begins, ends):  # type: ignore[no-untyped-def]
    """Return the numbers of the spans that are not valid UTF-8 or have a NUL.

    Args:
        data: (s,) uint8.
        begins: (n,) int64, never decreasing.
        ends: (n,) int64, never decreasing.
    """
    invalid = np.zeros(len(begins), np.bool_)
    # One check of everything is fast; then only the edges of the spans are left.
    is_all_clean = len(begins) > 0 and is_clean(data[begins[0] : ends[-1]])
    for number in range(len(begins)):
        begin, end = begins[number], ends[number]
        if is_all_clean:
            invalid[number] = begin < end and data[begin] & np.uint8(0xC0) == 0x80
        else:
            invalid[number] = not is_clean(data[begin:end])
        for at in range(max(begin, end - 3), end):
            size = 2 if data[at] < 0xE0 else 3 if data[at] < 0xF0 else 4
            invalid[number] |= data[at] >= 0xC0 and at + size > end
    return np.flatnonzero(invalid)


@compiled_with_arrays
def find_two_byte(data, begins, ends):  # type: ignore[no-untyped-def]
    """Return the numbers of the spans that may be hanzi of GB18030, though they are valid UTF-8.

    All their characters beyond ASCII, and there are some, take two bytes that GB2312 uses, too. One
    character of three bytes, as every hanzi in UTF-8, ends the search in a span.

    Args:
        data: (s,) uint8, valid UTF-8 within the spans.
        begins: (n,) int64.
        ends: (n,) int64.
    """
    found = np.zeros(len(begins), np.bool_)
    for number in range(len(begins)):
        at, end = begins[number], ends[number]
        while at < end:
            byte = data[at]
            if byte < 0x80:
                at += 1
            elif byte >= 0xE0 or data[at + 1] < 0xA1:
                found[number] = False
                break
            else:
                found[number] = True
                at += 2
    return np.flatnonzero(found)
