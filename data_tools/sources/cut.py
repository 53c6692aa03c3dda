"""Large files into slices that can be read each by itself.

A cut lies exactly where a reader that comes from the beginning begins a record, and where nothing
before depends on what is behind; so the slices' blocks together equal those of the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources.csv_reader import csv_starts
from data_tools.sources.lines import LongLine, read_lines
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import cut_parquet
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window

_LARGE = 1.5  # times the wanted size: what is smaller is not cut


def cut(source: SourceFile, options: InputConfig, size: int) -> list[Slice]:
    """Cut a file into slices of about `size` bytes; they tile it.

    Compressed files, those in other encodings than UTF-8, JSON lists and texts that are one
    document cannot be cut. Parquet files are cut between row groups.

    Raises:
        UserError: The file cannot be read.
    """
    if source.format == "parquet":
        return cut_parquet(source, options.content_column, size)
    is_whole = source.format == "json" or (
        source.format == "text" and options.text_documents == "file"
    )
    begin, line = 0, 1
    slices: list[Slice] = []
    if source.is_plain and not is_whole and source.bytes > _LARGE * size:
        for place, next_line in _starts(source, options, size):
            if source.bytes - place < (_LARGE - 1) * size:
                break
            slices.append(Slice(begin, place, line))
            begin, line = place, next_line
            if source.bytes - begin <= _LARGE * size:
                break
    return [*slices, Slice(begin, source.bytes, line)]


def _starts(source: SourceFile, options: InputConfig, size: int) -> Iterator[tuple[int, int]]:
    """Yield byte and line of records, each the first at least `size` bytes after the one before."""
    if source.format == "csv":
        yield from csv_starts(source, options, size)
    else:
        between = source.format == "text" and options.text_documents == "block"
        yield from _line_starts(source, size, between_blank=between)


def _line_starts(
    source: SourceFile, size: int, *, between_blank: bool
) -> Iterator[tuple[int, int]]:
    """Yield byte and number of lines; of those behind a blank one only, if so wanted."""
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = Window(stream)
        window.skip_mark()
        target, was_blank = size, False
        for item in read_lines(window, 1):
            if isinstance(item, LongLine):
                was_blank = False
                continue
            starts = item.begins + item.place
            while True:
                first = int(np.searchsorted(starts, target))
                if first == len(starts):
                    break
                if between_blank:
                    blank = item.blank()
                    after = np.concatenate(([was_blank], blank[:-1])) & ~blank
                    hits = np.flatnonzero(after[first:])
                    if not len(hits):
                        break
                    first += int(hits[0])
                yield int(starts[first]), item.number + first
                target = int(starts[first]) + size
            was_blank = bool(item.blank()[-1])
