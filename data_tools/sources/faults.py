"""Records that cannot be documents, described so that a user can find and mend them."""

from __future__ import annotations

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import SetAside
from data_tools.sources.csv_kernel import is_clean
from data_tools.sources.source import Encoding

_EXCERPT = 80

EXCERPT_BYTES = 4 * _EXCERPT
"""As much of a record as an excerpt needs."""


def excerpt(data: bytes) -> str:
    """Return the beginning of a record, bad bytes written in hex."""
    return data[:EXCERPT_BYTES].decode("utf-8", "backslashreplace")[:_EXCERPT]


def beginning(data: np.ndarray, begin: int, end: int) -> bytes:
    """Return as much of a record in a buffer as an excerpt needs."""
    return data[begin : min(end, begin + EXCERPT_BYTES)].tobytes()


def too_long(line: int, size: int, start: bytes, *, cure: str = "") -> SetAside:
    """Describe a record beyond `LONGEST_RECORD` that begins with `start`."""
    detail = f"{size} bytes; at most {limits.LONGEST_RECORD} are read" + cure
    return SetAside(line, "too long", detail, excerpt(start), size)


def bad_text(text: bytes, *, line: int, size: int, encoding: Encoding) -> SetAside | None:
    """Describe a text that is no valid UTF-8 or has a NUL; None for a good one.

    Args:
        text: In what was made of the file: UTF-8.
        line: As in `SetAside`.
        size: As in `SetAside`.
        encoding: Of the file.
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
        reason, detail = "bad encoding", f"no {encoding.upper()} {where}"
    around = before[-_EXCERPT // 4 :].encode("utf-8") + text[at : at + EXCERPT_BYTES]
    return SetAside(line, reason, detail, excerpt(around), size)


def bad_documents(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> list[int]:
    """Return the numbers of the spans that are no valid UTF-8 or have a NUL.

    Args:
        data: (s,) uint8.
        begins: (n,) int64, never decreasing.
        ends: (n,) int64.
    """
    if not len(begins) or _are_clean(data, begins, ends):
        return []
    spans = zip(begins.tolist(), ends.tolist(), strict=True)
    return [number for number, (b, e) in enumerate(spans) if not _is_good(data[b:e].tobytes())]


def _are_clean(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> bool:
    """Look at everything from the first span to the last at once."""
    filled = begins[ends > begins]
    return (
        bool(is_clean(data[begins[0] : ends[-1]]))
        and not (data[filled] & 0xC0 == 0x80).any()
        and _is_good(data[begins[-1] : ends[-1]].tobytes())
    )


def _is_good(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return 0 not in text
