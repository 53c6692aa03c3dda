"""Describe records that cannot be documents, so that a user can find and correct them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside
from data_tools.sources.source import Encoding
from data_tools.sources.utf8_kernel import find_invalid

_EXCERPT = 80

EXCERPT_BYTES = 4 * _EXCERPT
"""Bytes of a record that are enough for an excerpt."""


def make_excerpt(data: bytes) -> str:
    """Return the first 80 characters of a record; invalid bytes are written in hex."""
    return data[:EXCERPT_BYTES].decode("utf-8", "backslashreplace")[:_EXCERPT]


def copy_start(data: np.ndarray, begin: int, end: int) -> bytes:
    """Return the first bytes of data[begin:end], enough for an excerpt."""
    return data[begin : min(end, begin + EXCERPT_BYTES)].tobytes()


def describe_too_long(line: int, size: int, start: bytes, *, cure: str = "") -> SetAside:
    """Describe a record that is longer than `LONGEST_RECORD` and begins with `start`."""
    detail = f"{size} bytes; at most {limits.LONGEST_RECORD} are read" + cure
    return SetAside(line, "too long", detail, make_excerpt(start), size)


def describe_bad_text(text: bytes, *, line: int, size: int, encoding: Encoding) -> SetAside | None:
    """Describe a text that is not valid UTF-8 or has a NUL; return None for a valid text.

    Args:
        text: The record after decoding to UTF-8.
        line: As in `SetAside`.
        size: As in `SetAside`.
        encoding: Encoding of the file on the disk.
    """
    nul = text.find(0)
    try:
        text.decode("utf-8")
        at = nul
    except UnicodeDecodeError as error:
        at = error.start if nul < 0 else min(nul, error.start)
    if at < 0:
        return None
    before = text[:at].decode("utf-8")
    where = f"at character {len(before)}"
    if at == nul:
        reason, detail = "NUL character", where
    elif encoding in ("utf-8", "utf-8-sig"):
        reason, detail = "bad UTF-8", f"byte 0x{text[at]:02X} {where}"
    else:
        reason, detail = "bad encoding", f"not valid {encoding.upper()} {where}"
    around = before[-_EXCERPT // 4 :].encode("utf-8") + text[at : at + EXCERPT_BYTES]
    return SetAside(line, reason, detail, make_excerpt(around), size)


def set_bad_aside(block: Block, encoding: Encoding) -> Block:
    """Return the block with all documents set aside that are not valid UTF-8 or have a NUL.

    Args:
        block: May already have records set aside.
        encoding: Encoding of the file on the disk.
    """
    bad = find_invalid(block.data, block.begins, block.ends)
    if not len(bad):
        return block
    aside = list(block.set_aside)
    for number in bad.tolist():
        fault = describe_bad_text(
            block.data[block.begins[number] : block.ends[number]].tobytes(),
            line=int(block.lines[number]),
            size=int(block.sizes[number]),
            encoding=encoding,
        )
        assert fault is not None
        aside.append(fault)
    return replace(
        block,
        begins=np.delete(block.begins, bad),
        ends=np.delete(block.ends, bad),
        lines=np.delete(block.lines, bad),
        sizes=np.delete(block.sizes, bad),
        set_aside=tuple(sorted(aside, key=lambda fault: fault.line)),
    )
