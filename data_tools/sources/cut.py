"""Cut large files into slices that can be read independently.

A cut lies where a reader that starts at the beginning of the file begins a record, and where
nothing before the cut depends on what follows. So the blocks of all slices equal those of the whole
file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources.csv_reader import find_csv_starts
from data_tools.sources.lines import LongLine, read_lines
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import cut_parquet
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.text import Unit, find_unit
from data_tools.sources.window import Window

_LARGE = 1.5  # a file below this many times the wanted size is not cut


def cut(source: SourceFile, options: InputConfig, size: int) -> list[Slice]:
    """Cut a file into slices of about `size` bytes that cover it without gap or overlap.

    Compressed files, files in encodings other than UTF-8, JSON that is not in lines, and text files
    that are one document are not cut. Parquet files are cut between row groups.

    Raises:
        UserError: The file cannot be read.
    """
    if source.format == "parquet":
        return cut_parquet(source, options.content_column, size)
    begin, line = 0, 1
    slices: list[Slice] = []
    can_cut = source.is_plain and source.format not in ("json", "json values")
    if can_cut and source.bytes > _LARGE * size:
        for place, next_line in _find_starts(source, options, size):
            if source.bytes - place < (_LARGE - 1) * size:
                break
            slices.append(Slice(begin, place, line))
            begin, line = place, next_line
            if source.bytes - begin <= _LARGE * size:
                break
    return [*slices, Slice(begin, source.bytes, line)]


def _find_starts(source: SourceFile, options: InputConfig, size: int) -> Iterator[tuple[int, int]]:
    """Yield byte and line of records, each the first at least `size` bytes after the last one."""
    if source.format == "csv":
        yield from find_csv_starts(source, options, size)
    else:
        unit: Unit = options.text_documents if source.format == "text" else "line"
        if unit == "file":
            unit = find_unit(source)
        if unit != "file":
            yield from _find_line_starts(source, size, between_blank=unit == "block")


def _find_line_starts(
    source: SourceFile, size: int, *, between_blank: bool
) -> Iterator[tuple[int, int]]:
    """Yield byte and number of lines; with `between_blank` only of lines after a blank one."""
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = Window(stream)
        window.skip_mark()
        target, was_blank = size, False
        for item in read_lines(window, 1):
            if isinstance(item, LongLine):
                was_blank = False
                continue
            starts = item.begins + item.offset
            while True:
                first = int(np.searchsorted(starts, target))
                if first == len(starts):
                    break
                if between_blank:
                    blank = item.find_blank()
                    after = np.concatenate(([was_blank], blank[:-1])) & ~blank
                    hits = np.flatnonzero(after[first:])
                    if not len(hits):
                        break
                    first += int(hits[0])
                yield int(starts[first]), item.number + first
                target = int(starts[first]) + size
            was_blank = bool(item.find_blank()[-1])
