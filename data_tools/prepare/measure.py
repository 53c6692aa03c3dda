"""Compiled passes over the bytes of documents."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def count_characters(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Count the code points of each document, (n,) int64: all bytes but continuation bytes."""
    counts = np.empty(len(begins), np.int64)
    for document in range(len(begins)):
        count = 0
        for byte in data[begins[document] : ends[document]]:
            count += (byte & 0xC0) != 0x80
        counts[document] = count
    return counts


def blank_documents(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Tell which documents hold white space only, or nothing, (n,) bool."""
    blank = np.zeros(len(begins), bool)
    for number in np.flatnonzero(_may_be_blank(data, begins, ends, _BLANK_BYTES)).tolist():
        text = data[begins[number] : ends[number]].tobytes().decode("utf-8")
        blank[number] = not text or text.isspace()
    return blank


@numba.njit(cache=True)
def take_documents(
    ids: np.ndarray, counts: np.ndarray, chosen: np.ndarray, out: np.ndarray
) -> None:
    """Copy the tokens of the chosen documents to `out`, which has just their size.

    Args:
        ids: (t,), documents one after the other.
        counts: (n,) int64, tokens of each.
        chosen: (n,) bool.
        out: (tokens of the chosen,), of the type of `ids`.
    """
    begin = 0
    end = 0
    for document in range(len(counts)):
        count = counts[document]
        if chosen[document]:
            out[end : end + count] = ids[begin : begin + count]
            end += count
        begin += count


def _bytes_of_white_space() -> np.ndarray:
    """Mark the bytes that occur in the UTF-8 of any white space, (256,) bool."""
    marks = np.zeros(256, bool)
    for code in range(0x3001):
        if chr(code).isspace():
            marks[list(chr(code).encode())] = True
    return marks


_BLANK_BYTES = _bytes_of_white_space()


@numba.njit(cache=True)
def _may_be_blank(
    data: np.ndarray, begins: np.ndarray, ends: np.ndarray, marks: np.ndarray
) -> np.ndarray:
    """Sort out by their bytes the documents that cannot be blank: nearly all, by their first."""
    maybe = np.ones(len(begins), np.bool_)
    for document in range(len(begins)):
        for place in range(begins[document], ends[document]):
            if not marks[data[place]]:
                maybe[document] = False
                break
    return maybe
