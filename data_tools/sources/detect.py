"""Detect the encoding of a file: by its byte order mark, else by what reads best as Chinese.

UTF-8 is preferred: a file with a few bad bytes is taken for UTF-8 with a few bad bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Literal

from data_tools.sources.source import Encoding

EncodingChoice = Literal["auto", "utf-8", "utf-16", "gb18030"]
"""The values of the option `encoding`. The option repeats them, because jsonargparse cannot resolve
an alias of another module in a subclass of `InputConfig`."""

_MARKS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)
_MOST_BAD = 0.25  # share of the characters beyond ASCII that may be broken in UTF-8
_MOST_ZEROS = 0.4  # share of zeros among every second byte; English in UTF-16 has more
_LEAST_USUAL = 0.8  # share of usual characters that another encoding must give to be chosen
_LEAST_GB2312 = 0.5  # Latin-1 read as GB18030 gives only hanzi that GB2312 lacks


def detect_encoding(samples: Sequence[bytes], choice: EncodingChoice) -> Encoding:
    """Return the encoding of a file.

    Args:
        samples: Some parts of the file, each from an even byte on; the first is its beginning.
        choice: The option of the user.
    """
    start = samples[0] if samples else b""
    marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if choice == "gb18030":
        return "gb18030"
    if choice == "utf-8":
        return "utf-8-sig" if marked == "utf-8-sig" else "utf-8"
    if choice == "utf-16":
        if marked in ("utf-16-le", "utf-16-be"):
            return marked
        big, little = (_share_usual(samples, encoding) for encoding in ("utf-16-be", "utf-16-le"))
        return "utf-16-be" if big > little else "utf-16-le"
    return marked or _guess(samples)


def _guess(samples: Sequence[bytes]) -> Encoding:
    """Return the encoding that reads best, for samples without a byte order mark."""
    beyond, bad = _count_utf8(samples)
    joined = b"".join(sample[: len(sample) // 2 * 2] for sample in samples)
    zeros = max(joined[0::2].count(0), joined[1::2].count(0))
    if bad <= _MOST_BAD * beyond and zeros <= _MOST_ZEROS * len(joined) / 2:
        return "utf-8"
    candidates: tuple[Encoding, ...] = ("gb18030", "utf-16-le", "utf-16-be")
    shares = {encoding: _share_usual(samples, encoding) for encoding in candidates}
    best = max(candidates, key=lambda encoding: shares[encoding])
    return best if shares[best] >= _LEAST_USUAL else "utf-8"


def _count_utf8(samples: Sequence[bytes]) -> tuple[int, int]:
    """Return the number of characters beyond ASCII, with bad bytes, and the number of bad bytes."""
    beyond, bad = 0, 0
    for number, sample in enumerate(samples):
        text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(sample)
        if number:
            text = text.lstrip("".join(map(chr, range(0xDC80, 0xDCC0))))  # rest of a character
        # Counted by codecs: a loop over the characters would take a second for twenty files.
        beyond += len(text) - len(text.encode("ascii", "ignore"))
        bad += len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))
    return beyond, bad


def _share_usual(samples: Sequence[bytes], encoding: Encoding) -> float:
    """Return the share of characters that are usual in Chinese text, when read in an encoding."""
    text = ""
    for number, sample in enumerate(samples):
        if number and encoding == "gb18030":  # may begin inside a character; a line never does
            sample = sample[sample.find(b"\n") + 1 :]
        text += codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    if not text:
        return 0.0
    beyond = [character for character in text if character >= "\x80"]
    if encoding == "gb18030":
        usual = "".join(beyond).encode("gb2312", "ignore").decode("gb2312")
        if len(usual) < _LEAST_GB2312 * len(beyond):
            return 0.0
    elif len(beyond) == len(text):  # in UTF-16 any bytes make hanzi, but rarely a line break
        return 0.0
    return sum(map(_is_usual, text)) / len(text)


def _is_usual(character: str) -> bool:
    """Return whether a character is printable ASCII, a line break, or usual in Chinese text."""
    return (
        " " <= character <= "~"
        or character in "\t\n\r"
        or "\u4e00" <= character <= "\u9fff"
        or "\u3000" <= character <= "\u30ff"
        or "\uff01" <= character <= "\uff5e"
        or "\u2010" <= character <= "\u2026"
        or character in "\u00b7\ufeff"
    )
