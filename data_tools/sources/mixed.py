"""Read files whose rows are in two encodings: each line or record in the one that reads best.

Such files come from several exports that were joined. Bytes in a wrong encoding may be valid and
still be garbage, so each reading is judged by its cost, see `likelihood`.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import numpy as np

from data_tools.sources.detect import CLEAR, LEAST_COMMON, count_beyond
from data_tools.sources.likelihood import code_points, cost, is_rare, share_common
from data_tools.sources.transcode import MARK_BAD, Converter
from data_tools.sources.utf8_kernel import find_invalid

_THREE_BYTES = re.compile(rb"[\xe0-\xff]")  # the first byte of a hanzi in UTF-8

LONG_LINE = 1 << 20
"""Bytes of a line by which it is judged, and after which it is passed on in parts."""

_MOST_RARE = 0.3  # share of rare characters from which a line of GB18030 is compared
_PRIOR = 8.0  # bits by which another encoding than that of the file must be better
_LEAST_HANZI = 3  # characters beyond ASCII of a record that another encoding must explain
_UNREADABLE = ("big5", "cp1252")
"""Encodings that no reader knows. A line that reads much better in one of them is not GB18030."""


class Gb18030Lines(Converter):
    """Converts a stream of GB18030; lines that are UTF-8 already stay as they are."""

    def __init__(self, inner: Any, size: int) -> None:
        """Store the stream, of which `size` bytes are read at a time."""
        super().__init__(inner, size)
        self._rest = b""  # the beginning of a line
        self._long: _LongLine | None = None

    def _convert(self, data: bytes) -> bytes:
        is_last = not data
        data, self._rest = self._rest + data, b""
        done = b""
        if self._long:
            end = data.find(b"\n") + 1 or len(data)
            is_end = is_last or data[:end].endswith(b"\n")
            done = self._long.convert(data[:end], is_end=is_end)
            self._long = None if is_end else self._long
            data = data[end:]
        end = len(data) if is_last else data.rfind(b"\n") + 1
        done += _convert_lines(data[:end])
        self._rest = data[end:]
        if len(self._rest) > LONG_LINE:
            self._long = _LongLine(self._rest)
            done += self._long.convert(self._rest, is_end=False)
            self._rest = b""
        return done


class _LongLine:
    """The decoder of one long line."""

    def __init__(self, start: bytes) -> None:
        self._decoder = (
            None if _is_utf8(start) else codecs.getincrementaldecoder("gb18030")(MARK_BAD)
        )

    def convert(self, data: bytes, *, is_end: bool) -> bytes:
        if self._decoder is None:
            return data
        text = self._decoder.decode(data[:-1] if is_end else data)
        if is_end:
            # The decoder would swallow the line end behind a broken character.
            rest = self._decoder.getstate()[0] + data[-1:]
            text += rest.decode("gb18030", MARK_BAD)
        return text.encode("utf-8", "surrogateescape")


def _convert_lines(raw: bytes) -> bytes:
    """Convert whole lines of GB18030 to UTF-8, except those that are UTF-8 already."""
    text = raw.decode("gb18030", MARK_BAD)
    data = np.frombuffer(raw, np.uint8)
    codes = code_points(text)
    ends, text_ends = _line_ends(data), _line_ends(codes)
    begins, text_begins = (np.concatenate(([0], e[:-1])) for e in (ends, text_ends))
    doubtful = _find_doubtful(data, begins, ends, codes, text_begins)
    if not len(doubtful):
        return text.encode("utf-8", "surrogateescape")
    parts, at = [], 0
    for number in doubtful.tolist():
        line = raw[begins[number] : ends[number]]
        if _is_utf8(line):
            before = text[at : text_begins[number]]
            parts += [before.encode("utf-8", "surrogateescape"), line]
            at = int(text_ends[number])
    return b"".join([*parts, text[at:].encode("utf-8", "surrogateescape")])


def _line_ends(values: np.ndarray) -> np.ndarray:
    """Return one past the last item of each line, also of a last one without a line end."""
    ends = np.flatnonzero(values == ord("\n")) + 1
    if len(values) and (not len(ends) or ends[-1] < len(values)):
        ends = np.append(ends, len(values))
    return ends


def _find_doubtful(
    data: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    codes: np.ndarray,
    text_begins: np.ndarray,
) -> np.ndarray:
    """Return the numbers of the lines that may be UTF-8: valid as such, or garbage in GB18030."""
    if not len(ends):
        return np.empty(0, np.int64)
    beyond = np.add.reduceat(codes >= 0x80, text_begins, dtype=np.int32)
    rare = np.add.reduceat(is_rare(codes), text_begins, dtype=np.int32)
    latin = np.add.reduceat((codes >= ord("a")) & (codes <= ord("z")), text_begins, dtype=np.int32)
    is_doubtful = (rare > _MOST_RARE * beyond) | (ends - begins > LONG_LINE)
    # A hanzi of UTF-8 begins with a byte that begins only rare hanzi of GB18030.
    may_be_valid = np.flatnonzero((beyond > 0) & ((rare > 0) | (latin > 0)) & ~is_doubtful)
    if len(may_be_valid):
        invalid = find_invalid(data, begins[may_be_valid], ends[may_be_valid])
        is_doubtful[np.delete(may_be_valid, invalid)] = True
    return np.flatnonzero(is_doubtful & (beyond > 0))


def _is_utf8(line: bytes) -> bool:
    """Return whether a line in a file of GB18030 must keep its bytes.

    They are UTF-8, also with bad bytes, or an encoding that no reader knows. What is not valid
    UTF-8 is set aside later.
    """
    head = line[:LONG_LINE]
    here = cost(head.decode("gb18030", MARK_BAD))
    if cost(head.decode("utf-8", "surrogateescape")) + _PRIOR < here:
        return True
    return any(_cost_in(head, name) + CLEAR < here for name in _UNREADABLE)


def convert_record(raw: bytes) -> bytes | None:
    """Return a record of a UTF-8 file, whose bytes are not valid UTF-8, as UTF-8.

    Lines of it that are valid stay as they are, unless they read better as GB18030.

    None if the other lines do not clearly read as GB18030.
    """
    parts, foreign = [], []
    for line in raw.splitlines(keepends=True):
        converted = _convert_line(line)
        if converted is None:
            return None
        parts.append(converted)
        if converted != line:
            foreign.append(line)
    judged = b"".join(foreign)
    text = judged.decode("gb18030")
    here = cost(text)
    is_clear = here + CLEAR < cost(judged.decode("utf-8", "surrogateescape"))
    is_short = count_beyond(text) < _LEAST_HANZI
    if not is_clear or is_short or share_common(text) < LEAST_COMMON or b"\0" in raw:
        return None
    if any(_cost_in(judged, name) + _PRIOR < here for name in _UNREADABLE):
        return None
    return b"".join(parts)


def _convert_line(line: bytes) -> bytes | None:
    """Return a line as UTF-8: itself if it is, else from GB18030; None if it is neither."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return line.decode("gb18030").encode("utf-8")
        except UnicodeDecodeError:
            return None
    return read_doubtful(line).encode("utf-8") or line


def reads_as_big5(raw: bytes) -> bool:
    """Return whether bytes that no reader can decode read well as Big5."""
    try:
        text = raw.decode("big5")
    except UnicodeDecodeError:
        return False
    return share_common(text) >= LEAST_COMMON


def read_doubtful(raw: bytes) -> str:
    """Return how valid UTF-8 reads in GB18030 if that is more likely, else "".

    A text with hanzi in UTF-8 is not doubted.
    """
    if raw.isascii() or _THREE_BYTES.search(raw):
        return ""
    try:
        other = raw.decode("gb18030")
    except UnicodeDecodeError:
        return ""
    return other if cost(other) < cost(raw.decode("utf-8")) else ""


def _cost_in(raw: bytes, encoding: str) -> float:
    """Return the cost of bytes in an encoding."""
    return cost(raw.decode(encoding, "replace"))
