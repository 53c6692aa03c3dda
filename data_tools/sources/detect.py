"""Which encoding some bytes are in: by their mark, else by what makes most sense as Chinese.

UTF-8 has the benefit of the doubt: a file with a few bad bytes is UTF-8 with a few bad bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Literal

from data_tools.sources.source import Encoding

Wanted = Literal["auto", "utf-8", "utf-16", "gb18030"]

_MARKS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)
_MOST_BAD = 0.25  # share of the characters beyond ASCII that may be broken in UTF-8
_MOST_ZEROS = 0.4  # share of every second byte: English has more of them in UTF-16
_LEAST_SENSE = 0.8  # share of characters that must be usual for another encoding to be believed
_LEAST_GB2312 = 0.5  # Latin-1 read as GB18030 gives rare hanzi only


def detect_encoding(samples: Sequence[bytes], wanted: Wanted) -> Encoding:
    """Return the encoding of a file.

    Args:
        samples: Some stretches of it, each of which begins at an even byte; the first is its
            beginning.
        wanted: What the user says.
    """
    start = samples[0] if samples else b""
    marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if wanted == "gb18030":
        return "gb18030"
    if wanted == "utf-8":
        return "utf-8-sig" if marked == "utf-8-sig" else "utf-8"
    if wanted == "utf-16":
        if marked in ("utf-16-le", "utf-16-be"):
            return marked
        big, little = (_sense(samples, encoding) for encoding in ("utf-16-be", "utf-16-le"))
        return "utf-16-be" if big > little else "utf-16-le"
    return marked or _guess(samples)


def _guess(samples: Sequence[bytes]) -> Encoding:
    """Return the encoding that makes most sense of samples without a mark."""
    beyond, bad = _count_utf8(samples)
    joined = b"".join(sample[: len(sample) // 2 * 2] for sample in samples)
    zeros = max(joined[0::2].count(0), joined[1::2].count(0))
    if bad <= _MOST_BAD * beyond and zeros <= _MOST_ZEROS * len(joined) / 2:
        return "utf-8"
    candidates: tuple[Encoding, ...] = ("gb18030", "utf-16-le", "utf-16-be")
    senses = {encoding: _sense(samples, encoding) for encoding in candidates}
    best = max(candidates, key=lambda encoding: senses[encoding])
    return best if senses[best] >= _LEAST_SENSE else "utf-8"


def _count_utf8(samples: Sequence[bytes]) -> tuple[int, int]:
    """Return the characters beyond ASCII in UTF-8, bad bytes included, and the bad bytes."""
    beyond, bad = 0, 0
    for number, sample in enumerate(samples):
        text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(sample)
        if number:
            text = text.lstrip("".join(map(chr, range(0xDC80, 0xDCC0))))  # the end of a character
        # Counted by codecs: a loop over the characters would take a second for twenty files.
        beyond += len(text) - len(text.encode("ascii", "ignore"))
        bad += len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))
    return beyond, bad


def _sense(samples: Sequence[bytes], encoding: Encoding) -> float:
    """Return the share of characters that are usual in Chinese text, if read in an encoding."""
    text = ""
    for number, sample in enumerate(samples):
        if number and encoding == "gb18030":  # may begin within a character; no line does
            sample = sample[sample.find(b"\n") + 1 :]
        text += codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    if not text:
        return 0.0
    beyond = [sign for sign in text if sign >= "\x80"]
    if encoding == "gb18030":
        usual = "".join(beyond).encode("gb2312", "ignore").decode("gb2312")
        if len(usual) < _LEAST_GB2312 * len(beyond):
            return 0.0
    elif len(beyond) == len(text):  # any bytes make hanzi in UTF-16, but hardly a line break
        return 0.0
    return sum(map(_is_usual, text)) / len(text)


def _is_usual(sign: str) -> bool:
    """Tell whether a character is ASCII that texts have, Chinese, or one of its marks."""
    return (
        " " <= sign <= "~"
        or sign in "\t\n\r"
        or "\u4e00" <= sign <= "\u9fff"
        or "\u3000" <= sign <= "\u30ff"
        or "\uff01" <= sign <= "\uff5e"
        or "\u2010" <= sign <= "\u2026"
        or sign in "\u00b7\ufeff"
    )
