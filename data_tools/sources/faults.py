"""Describe records that cannot be documents, so that a user can find and correct them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.detect import EncodingChoice
from data_tools.sources.mixed import convert_record, read_doubtful, reads_as_big5
from data_tools.sources.source import Encoding
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
        reason = "maybe Big5"
        detail = f"byte 0x{text[at]:02X} {where}; convert the file: iconv -f BIG5 -t UTF-8"
    elif encoding in ("utf-8", "utf-8-sig"):
        reason, detail = "bad UTF-8", f"byte 0x{text[at]:02X} {where}"
    else:
        reason, detail = "bad encoding", f"not valid {encoding.upper()} {where}"
    around = before[-_EXCERPT // 4 :].encode("utf-8") + text[at : at + EXCERPT_BYTES]
    return SetAside(line, reason, detail, make_excerpt(around), size)


def set_bad_aside(block: Block, encoding: Encoding, choice: EncodingChoice = "auto") -> Block:
    """Return the block with all documents set aside that are not valid UTF-8 or have a NUL.

    In a file of UTF-8, a document that clearly reads as GB18030 is converted, and one that may as
    well be GB18030 is set aside, unless the user named the encoding.

    Args:
        block: May already have records set aside.
        encoding: Encoding of the file on the disk.
        choice: The option of the user.
    """
    bad = find_invalid(block.data, block.begins, block.ends)
    may_be_other = choice == "auto" and encoding in ("utf-8", "utf-8-sig")
    doubtful = np.empty(0, np.int64)
    if may_be_other and len(bad) < len(block):
        good = np.delete(np.arange(len(block)), bad) if len(bad) else np.arange(len(block))
        doubtful = good[find_two_byte(block.data, block.begins[good], block.ends[good])]
    aside: list[SetAside] = []
    converted: dict[int, bytes] = {}
    for number in bad.tolist():
        raw = block.data[block.begins[number] : block.ends[number]].tobytes()
        other = convert_record(raw) if may_be_other else None
        if other is not None:
            converted[number] = other
            continue
        line, size = int(block.lines[number]), int(block.sizes[number])
        fault = describe_bad_text(raw, line=line, size=size, encoding=encoding)
        assert fault is not None
        aside.append(fault)
    aside += _describe_doubtful(block, doubtful)
    if converted:
        block = _replace_documents(block, converted)
    if not aside:
        return block
    lines = np.isin(block.lines, [fault.line for fault in aside])
    kept = ~lines
    return replace(
        block,
        begins=block.begins[kept],
        ends=block.ends[kept],
        lines=block.lines[kept],
        sizes=block.sizes[kept],
        set_aside=tuple(sorted((*block.set_aside, *aside), key=lambda fault: fault.line)),
    )


def _describe_doubtful(block: Block, numbers: np.ndarray) -> list[SetAside]:
    """Describe the documents, of these numbers, that are more likely GB18030 than UTF-8."""
    found = []
    for number in numbers.tolist():
        text = block.text(number)
        other = read_doubtful(text)
        if other:
            here, there = make_excerpt(text.encode()), make_excerpt(other.encode())
            detail = (
                f"'{here}' in UTF-8, '{there}' in GB18030; choose with --encoding utf-8 or "
                "--encoding gb18030"
            )
            line, size = int(block.lines[number]), int(block.sizes[number])
            found.append(SetAside(line, "unclear encoding", detail, here, size))
    return found


def _replace_documents(block: Block, texts: Mapping[int, bytes]) -> Block:
    """Return the block with other texts for the documents of some numbers."""
    spans = zip(block.begins.tolist(), block.ends.tolist(), strict=True)
    raw = block.data.tobytes()
    parts = [texts.get(number, raw[a:b]) for number, (a, b) in enumerate(spans)]
    data, begins, ends = join_spans(parts)
    return replace(block, data=data, begins=begins, ends=ends)
