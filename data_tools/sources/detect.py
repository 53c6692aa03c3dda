"""Detect the encoding of a file: by its byte order mark, else by what reads best as Chinese.

A short file may read well in two encodings. Then its own bytes are no evidence, and the other files
of its folder decide.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data_tools.sources.likelihood import cost, share_common
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
CLEAR = 24.0
"""Bits of evidence from which bytes that are valid UTF-8 are taken for GB18030, or the reverse. One
common hanzi costs 12 bits."""
_CLEAR_UTF8 = 8.0  # UTF-8 needs less evidence: GB18030 is rarely valid UTF-8
LEAST_COMMON = 0.5  # share of common characters beyond ASCII that another encoding must give
_MOST_COMMON = 0.9  # share from which no other encoding needs to be tried
_SURE = 12  # characters of three bytes; GB18030 that is valid UTF-8 never has so many
_JUDGED = 1 << 14  # bytes of a sample that are compared; an even number
_INNER = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that do not begin a character


@dataclass(frozen=True)
class Guess:
    """What the bytes of one file say about its encoding."""

    encoding: Encoding
    is_clear: bool = True
    """Whether the bytes are evidence; else the encoding is only the more likely one."""
    is_ascii: bool = False
    """Whether the file reads the same in UTF-8 and GB18030; such a file has no vote."""


def guess_encoding(samples: Sequence[bytes], choice: EncodingChoice) -> Guess:
    """Return what some parts of a file say about its encoding.

    Args:
        samples: Some parts of the file, each from an even byte on; the first is its beginning.
        choice: The option of the user.
    """
    start = samples[0] if samples else b""
    marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if choice == "gb18030":
        return Guess("gb18030")
    if choice == "utf-8":
        return Guess("utf-8-sig" if marked == "utf-8-sig" else "utf-8")
    if choice == "utf-16":
        if marked in ("utf-16-le", "utf-16-be"):
            return Guess(marked)
        big, little = (cost(_decode(samples, name)) for name in ("utf-16-be", "utf-16-le"))
        return Guess("utf-16-be" if big < little else "utf-16-le")
    return Guess(marked) if marked else _guess_quickly(samples) or _compare(samples)


def settle(guesses: Mapping[Path, Guess]) -> dict[Path, Encoding]:
    """Return the encoding of each file; where its bytes are no evidence, its neighbours decide.

    The clear files of the same folder vote, or those of the whole input if the folder has none. A
    tie is UTF-8.
    """
    votes: dict[Path | None, Counter[str]] = {}
    for path, guess in guesses.items():
        if guess.is_clear and not guess.is_ascii:
            for group in (path.parent, None):
                votes.setdefault(group, Counter())[guess.encoding] += 1
    chosen: dict[Path, Encoding] = {}
    for path, guess in guesses.items():
        chosen[path] = guess.encoding
        if not guess.is_clear:
            counts = votes.get(path.parent) or votes.get(None) or Counter()
            utf8 = counts["utf-8"] + counts["utf-8-sig"]
            chosen[path] = "gb18030" if counts["gb18030"] > utf8 else "utf-8"
    return chosen


def _guess_quickly(samples: Sequence[bytes]) -> Guess | None:
    """Return the encoding of samples that are valid in only one of them; None for others.

    Most files are such, and judging every character of many small files would take long.
    """
    utf8 = _decode_strictly(samples, "utf-8")
    if utf8 is not None:
        leads = sum(int(np.count_nonzero(np.frombuffer(part, np.uint8) > 0xDF)) for part in samples)
        is_sure = utf8.isascii() or leads >= _SURE
        return Guess("utf-8", is_ascii=utf8.isascii()) if is_sure and "\0" not in utf8 else None
    text = _decode_strictly([part[:_JUDGED] for part in samples], "gb18030")
    if text is None or "\0" in text or count_beyond(text) < _SURE:
        return None
    is_usual = share_common(text) >= _MOST_COMMON
    return Guess("gb18030") if is_usual and _decode_strictly(samples, "big5") is None else None


def _compare(samples: Sequence[bytes]) -> Guess:
    """Return the encoding that reads best, for samples without a byte order mark."""
    samples = [part[:_JUDGED] for part in samples]
    names: list[Encoding] = ["utf-8", "gb18030"]
    if any(b"\0" in part for part in samples):  # as each line break in UTF-16 has one
        names += ["utf-16-le", "utf-16-be"]
    texts = {name: _decode(samples, name) for name in names}
    bits = {name: cost(text) for name, text in texts.items()}
    likely = [n for n in names if n == "utf-8" or share_common(texts[n]) >= LEAST_COMMON]
    best = min(likely, key=lambda name: bits[name])
    if best == "gb18030" and cost(_decode(samples, "big5")) < bits[best] - CLEAR:
        return Guess("utf-8")  # no reader knows Big5; its records are set aside and say so
    evidence = bits["gb18030"] - bits["utf-8"]
    if best.startswith("utf-16"):
        is_clear = True
    elif is_valid_utf8(texts["utf-8"]):
        is_clear = not -CLEAR < evidence < _CLEAR_UTF8
    else:
        is_long = count_beyond(texts["gb18030"]) >= _SURE
        is_clear = best == "gb18030" or evidence >= 0 or is_long
    return Guess(best, is_clear=is_clear)


def is_valid_utf8(text: str) -> bool:
    """Return whether a text that was decoded with `surrogateescape` had no bad byte."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def count_beyond(text: str) -> int:
    """Return the number of characters beyond ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _decode_strictly(samples: Sequence[bytes], encoding: str) -> str | None:
    """Return the samples as text; None if there is a bad byte."""
    try:
        return _decode(samples, encoding, "strict")
    except UnicodeDecodeError:
        return None


def _decode(samples: Sequence[bytes], encoding: str, errors: str = "surrogateescape") -> str:
    """Return the samples as text; bad bytes become lone surrogates, or U+FFFD in UTF-16."""
    text = ""
    if encoding.startswith("utf-16"):
        errors = "replace"
    for number, sample in enumerate(samples):
        if number and not encoding.startswith("utf-16"):  # may begin inside a character
            sample = sample[sample.find(b"\n") + 1 :] if b"\n" in sample else sample.lstrip(_INNER)
        text += codecs.getincrementaldecoder(encoding)(errors).decode(sample)
    return text
