"""Tell a user about records set aside: the first fault of each reason, with its place and cure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from data_tools.sources.block import SetAside
from gpt2zh.pages.characters import visible
from gpt2zh.pages.numbers import plural

MOST = 0.01
"""Share of the bytes; if more was set aside, the user is warned."""

_CURES = {
    "bad UTF-8": "correct these bytes, or convert the file to UTF-8; GB18030 and UTF-16 are read "
    "without that unless --encoding is set",
    "bad encoding": "correct these bytes, or convert the file to UTF-8",
    "maybe Big5": "convert the file: iconv -f BIG5 -t UTF-8 OLD > NEW",
    "unclear encoding": "choose one with --encoding utf-8 or --encoding gb18030",
    "damaged file": "replace it with a complete copy",
    "NUL character": "remove it; a file with many of them is not text",
    "missing key": "choose one of its keys with --content-column",
    "not a string": "write one string in each record, for example the turns of a dialogue joined "
    "by line breaks, or choose another --content-column",
    "lone surrogate": "remove this escape, which is half of a character",
    "ragged row": "put a field that holds a comma or a line break in double quotes",
    "broken quoting": "write a quote inside a quoted field twice",
    "unclosed quote": "close the quote on this line, or write it twice if it belongs to the text",
    "too long": "split it into several records",
}
OF_ENCODING = ("maybe Big5", "unclear encoding")
"""Reasons that are worth a warning however little was set aside: another option would help."""
_BROKEN_BY_QUOTE = ("ragged row", "broken quoting")
_NEAR = 2  # lines; between two lines of a broken field may be a blank one


@dataclass
class Casualty:
    """The first fault of one reason, and how many there are."""

    file: str
    first: SetAside
    records: int = 1
    followers: int = 0
    """Rows directly behind an unclosed quote, which are pieces of its record; not in `records`."""

    def describe(self) -> str:
        """Return a line with the count, the place, the fault and its cure."""
        count = str(self.records)
        if self.followers:
            one, many = "row behind it that is a piece", "rows behind it that are pieces"
            count += f", and {plural(self.followers, one, many, show=str)} of the record"
        cure = _CURES.get(self.first.reason, "correct it there")
        excerpt = f": {visible(self.first.excerpt)}" if self.first.excerpt else ""
        return (
            f"{self.first.reason} ({count}): {visible(self.file)}:{self.first.line}: "
            f"{visible(self.first.detail)}{excerpt} -> {cure}"
        )


def find_first(items: Iterable[tuple[str, SetAside]]) -> list[Casualty]:
    """Return the first fault of each reason, the most frequent reason first.

    A row that directly follows an unclosed quote is a piece of its record. It is set aside by
    itself, because only the quote is known to be wrong, but it is not counted as another fault.

    Args:
        items: Files and the records set aside in them, in order.
    """
    found: dict[str, Casualty] = {}
    open_file, open_line = "", -_NEAR
    for file, item in items:
        is_near = file == open_file and open_line < item.line <= open_line + _NEAR
        if item.reason in _BROKEN_BY_QUOTE and is_near:
            found["unclosed quote"].followers += 1
            open_line = item.line
            continue
        if item.reason == "unclosed quote":
            open_file, open_line = file, item.line
        if item.reason in found:
            found[item.reason].records += 1
        else:
            found[item.reason] = Casualty(file, item)
    return sorted(found.values(), key=lambda casualty: -casualty.records)


def read_lists(paths: Sequence[Path]) -> Iterator[tuple[str, SetAside]]:
    """Yield what lists of records set aside hold; files that do not exist hold nothing."""
    names = [field.name for field in fields(SetAside)]
    for path in paths:
        if not path.exists():
            continue
        with path.open("rb") as file:
            for line in file:
                entry = json.loads(line.decode("utf-8", "surrogateescape"))
                yield entry["file"], SetAside(**{name: entry[name] for name in names})


def describe_all(casualties: Sequence[Casualty]) -> str:
    """Return one indented line for each, each after a line end; "" if there are none."""
    return "".join(f"\n  {casualty.describe()}" for casualty in casualties)
