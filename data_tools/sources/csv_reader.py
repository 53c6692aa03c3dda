"""CSV files to blocks, and to the places where they can be cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside
from data_tools.sources.csv_header import Header, read_header
from data_tools.sources.csv_kernel import (
    BAD_TEXT,
    BROKEN,
    FAULT_COLUMNS,
    MORE,
    RAGGED,
    TOO_LONG,
    WHY_END,
    WHY_FIELDS,
    WHY_LENGTH,
    find_record,
    is_clean,
    read_records,
)
from data_tools.sources.faults import bad_text, beginning, excerpt, too_long
from data_tools.sources.options import InputConfig
from data_tools.sources.source import Slice, SourceFile, Tally
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window


def read_csv(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, tally: Tally
) -> Iterator[Block]:
    """Yield the documents of a slice.

    Raises:
        UserError: The file has no such column.
    """
    header = read_header(source, options.content_column)
    documents = np.empty((4, limits.BLOCK_DOCUMENTS), np.int64)
    faults = np.empty((limits.BLOCK_DOCUMENTS, len(FAULT_COLUMNS)), np.int64)
    window = Window(stream)
    overhead, line = 0, part.line
    if part.begin == 0:
        window.skip(header.end)
        overhead, line = header.end, header.line
    is_text = _is_text(window)
    while True:
        begin = window.begin
        window.begin, line, records, count, faulty, blank, verdict = read_records(
            window.data,
            begin,
            window.end,
            window.is_last,
            header.width,
            header.column,
            limits.LONGEST_RECORD,
            is_text,
            line,
            documents,
            faults,
        )
        tally.records += records
        aside = [_describe(row, window.data, header, source) for row in faults[:faulty].tolist()]
        begins, ends, lines, sizes = documents[:, :count].copy()
        data = window.data[begin : window.begin]
        if verdict == TOO_LONG:
            start = beginning(window.data, window.begin, window.end)
            tally.records += 1
            aside.append(too_long(line, window.skip_line(), start))
            line += 1
        overhead += blank
        if count or aside or overhead:
            yield Block(data, begins - begin, ends - begin, lines, sizes, tuple(aside), overhead)
        overhead = 0
        if verdict == MORE and window.is_last:
            return
        if verdict == MORE:
            window.fill()
        if verdict in (MORE, TOO_LONG):
            is_text = _is_text(window)


def csv_starts(source: SourceFile, options: InputConfig, size: int) -> Iterator[tuple[int, int]]:
    """Yield byte and line of records, each the first at least `size` bytes after the one before.

    No record before such a place was judged by what stands behind it, so a reader that begins or
    ends there comes to the same verdicts.
    """
    header = read_header(source, options.content_column)
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = Window(stream)
        window.skip(header.end)
        line, seen, target = header.line, 0, size
        while True:
            window.begin, line, seen_here, verdict = find_record(
                window.data,
                window.begin,
                window.end,
                window.is_last,
                header.width,
                limits.LONGEST_RECORD,
                line,
                target - window.offset,
                seen - window.offset,
            )
            seen = seen_here + window.offset
            if verdict == TOO_LONG:
                window.skip_line()
                line += 1
            elif verdict == MORE and window.is_last:
                return
            elif verdict == MORE:
                window.fill()
            else:
                yield window.offset + window.begin, line
                target = window.offset + window.begin + size


def _is_text(window: Window) -> bool:
    """Tell whether the whole window is text; else it is looked up field by field."""
    return bool(is_clean(window.data[window.begin : window.end]))


def _describe(row: list[int], data: np.ndarray, header: Header, source: SourceFile) -> SetAside:
    """Put a fault that the kernel found into words."""
    verdict, begin, size, line, field_begin, field_end, why, fields = row
    if verdict == BAD_TEXT:
        text = data[field_begin:field_end].tobytes()
        if field_begin > begin and data[field_begin - 1] == ord('"'):
            text = text.replace(b'""', b'"')
        fault = bad_text(text, line=line, size=size, encoding=source.encoding)
        assert fault is not None
        return fault
    counts = f"{fields} fields where the header has {header.width}"
    if verdict == RAGGED:
        reason, detail = "ragged row", counts
    elif verdict == BROKEN:
        reason, detail = "broken quoting", "a comma or line end is expected after a closing quote"
    else:
        reason = "unclosed quote"
        detail = {
            WHY_END: "still open at the end of the file",
            WHY_LENGTH: f"still open after {limits.LONGEST_RECORD} bytes",
            WHY_FIELDS: f"closed on a later line, it makes {counts}",
        }.get(why, "on a later line there is text after a quote that would close it")
    return SetAside(line, reason, detail, excerpt(beginning(data, begin, begin + size)), size)
