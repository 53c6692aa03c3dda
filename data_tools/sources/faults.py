"""Describe records that cannot be documents, so that a user can find and correct them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.detect import EncodingChoice
from data_tools.sources.mixed import convert_record, read_doubtful, reads_as_big5
from data_tools.sources.source import UTF8, Encoding
from data_tools.sources.utf8_kernel import find_invalid, find_two_byte

_EXCERPT = 80

EXCERPT_BYTES = 4 * _EXCERPT
"""Bytes of a record that are enough for an excerpt."""


def make_excerpt(data: bytes) -> str:
    """Return the first 80 characters of a record; invalid bytes are written in hex."""
    return data[:EXCERPT_BYTES].decode("utf-8", "backslashreplace")[:_EXCERPT]


def copy_start(data: np.ndarray, begin: int, end: int) -> bytes:
    """Return the first bytes of data[begin:end], enough for an excerpt."""
    return data[begin : min(end, begin + EXCERPT_BYTES)].tobytes()


def describe_too_long(line: int, size: int, start: bytes) -> SetAside:
    """Describe a record that is longer than `LONGEST_RECORD` and begins with `start`."""
    detail = f"{size} bytes; at most {limits.LONGEST_RECORD} are read"
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
    elif reads_as_big5(text):
        reason, detail = "maybe Big5", f"byte 0x{text[at]:02X} {where}"
    elif encoding in UTF8:
        reason, detail = "bad UTF-8", f"byte 0x{text[at]:02X} {where}"
    else:
        reason, detail = "bad encoding", f"not valid {encoding.upper()} {where}"
    around = before[-_EXCERPT // 4 :].encode("utf-8") + text[at : at + EXCERPT_BYTES]
    return SetAside(line, reason, detail, make_excerpt(around), size)


def judge_record(
    raw: bytes, *, line: int, size: int, encoding: Encoding, choice: EncodingChoice
) -> bytes | SetAside:
    """Return a record in UTF-8, or its description if it cannot be a document.

    In a file of UTF-8, a record that clearly reads as GB18030 is converted, and one that may as
    well be GB18030 is set aside, unless the user named the encoding. A Parquet file is always one
    of UTF-8, so there "gb18030" decides only what its unclear records are.

    Args:
        raw: The record after decoding to UTF-8.
        line: As in `SetAside`.
        size: As in `SetAside`.
        encoding: Encoding of the file on the disk.
        choice: The option of the user.
    """
    fault = describe_bad_text(raw, line=line, size=size, encoding=encoding)
    if choice == "utf-8" or encoding not in UTF8:
        return fault or raw
    if fault:
        return convert_record(raw) or fault
    other = read_doubtful(raw)
    if not other:
        return raw
    if choice == "gb18030":
        return other.encode()
    here, there = make_excerpt(raw), make_excerpt(other.encode())
    detail = f"'{here}' in UTF-8, '{there}' in GB18030"
    return SetAside(line, "unclear encoding", detail, here, size)


def set_bad_aside(block: Block, encoding: Encoding, choice: EncodingChoice = "auto") -> Block:
    """Return the block with all documents judged; see `judge_record`.

    Args:
        block: May already have records set aside.
        encoding: Encoding of the file on the disk.
        choice: The option of the user.
    """
    bad = find_invalid(block.data, block.begins, block.ends)
    if choice != "utf-8" and encoding in UTF8:
        good = np.delete(np.arange(len(block)), bad)
        doubtful = find_two_byte(block.data, block.begins[good], block.ends[good])
        bad = np.concatenate((bad, good[doubtful]))
    if not len(bad):
        return block
    aside: dict[int, SetAside] = {}
    converted: dict[int, bytes] = {}
    for number in bad.tolist():
        raw = block.data[block.begins[number] : block.ends[number]].tobytes()
        line, size = int(block.lines[number]), int(block.sizes[number])
        found = judge_record(raw, line=line, size=size, encoding=encoding, choice=choice)
        if isinstance(found, SetAside):
            aside[number] = found
        elif found is not raw:
            converted[number] = found
    if converted:
        block = _replace_documents(block, converted)
    gone = list(aside)
    return replace(
        block,
        begins=np.delete(block.begins, gone),
        ends=np.delete(block.ends, gone),
        lines=np.delete(block.lines, gone),
        sizes=np.delete(block.sizes, gone),
        set_aside=tuple(sorted((*block.set_aside, *aside.values()), key=lambda fault: fault.line)),
    )


def _replace_documents(block: Block, texts: Mapping[int, bytes]) -> Block:
    """Return the block with other texts for the documents of some numbers."""
    spans = zip(block.begins.tolist(), block.ends.tolist(), strict=True)
    raw = block.data.tobytes()
    parts = [texts.get(number, raw[a:b]) for number, (a, b) in enumerate(spans)]
    data, begins, ends = join_spans(parts)
    return replace(block, data=data, begins=begins, ends=ends)
