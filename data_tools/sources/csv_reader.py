"""Read CSV files as blocks, and find the positions where they can be cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside
from data_tools.sources.csv_header import Header, read_header
from data_tools.sources.csv_kernel import (
    BROKEN,
    FAULT_COLUMNS,
    MORE,
    RAGGED,
    TOO_LONG,
    WHY_END,
    WHY_FIELDS,
    WHY_LENGTH,
    Rules,
    Span,
    find_record,
    read_records,
)
from data_tools.sources.delimiter import exchange, name_of, open_window
from data_tools.sources.faults import (
    copy_start,
    describe_too_long,
    make_excerpt,
    set_bad_aside,
)
from data_tools.sources.options import InputConfig
from data_tools.sources.source import RecordCount, Slice, SourceFile
from data_tools.sources.stream import ByteStream
from gpt2zh.pages.numbers import plural


def read_csv(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
) -> Iterator[Block]:
    """Yield the documents of a slice.

    Raises:
        UserError: The file has no such column.
    """
    header, sign = read_header(source, options.content_column), source.delimiter
    rules = Rules(header.width, header.column, limits.LONGEST_RECORD)
    documents = np.empty((4, limits.BLOCK_DOCUMENTS), np.int64)
    faults = np.empty((limits.BLOCK_DOCUMENTS, len(FAULT_COLUMNS)), np.int64)
    window = open_window(stream, sign)
    overhead, line = 0, part.line
    if part.begin == 0:
        window.skip(header.end)
        overhead, line = header.end, header.line
    while True:
        begin = window.begin
        span = Span(window.data, begin, window.end, window.is_last)
        window.begin, line, records, taken, faulty, blank, verdict = read_records(
            span, rules, line, documents, faults
        )
        count.records += records
        begins, ends, lines, sizes = documents[:, :taken].copy()
        data = exchange(window.data[begin : window.begin], sign)
        faults[:faulty, FAULT_COLUMNS.index("begin")] -= begin
        aside = [_describe_fault(row, data, header, sign) for row in faults[:faulty].tolist()]
        if verdict == TOO_LONG:
            start = copy_start(window.data, window.begin, window.end)
            start = exchange(np.frombuffer(start, np.uint8), sign).tobytes()
            count.records += 1
            aside.append(describe_too_long(line, window.skip_line(), start))
            line += 1
        overhead += blank
        if taken or aside or overhead:
            block = Block(data, begins - begin, ends - begin, lines, sizes, tuple(aside), overhead)
            yield set_bad_aside(block, source.encoding, options.encoding)
        overhead = 0
        if verdict == MORE and window.is_last:
            return
        if verdict == MORE:
            window.fill()


def find_csv_starts(
    source: SourceFile, options: InputConfig, size: int
) -> Iterator[tuple[int, int]]:
    """Yield byte and line of records, each the first at least `size` bytes after the last one.

    No verdict on a record before such a position depends on bytes after it, so a reader that begins
    or ends there comes to the same verdicts.
    """
    header = read_header(source, options.content_column)
    rules = Rules(header.width, header.column, limits.LONGEST_RECORD)
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = open_window(stream, source.delimiter)
        window.skip(header.end)
        line, seen, target = header.line, 0, size
        while True:
            span = Span(window.data, window.begin, window.end, window.is_last)
            window.begin, line, seen_here, verdict = find_record(
                span, rules, line, target - window.offset, seen - window.offset
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


def _describe_fault(row: list[int], data: np.ndarray, header: Header, sign: str) -> SetAside:
    """Describe a fault that the kernel found, a row of `FAULT_COLUMNS`."""
    verdict, begin, size, line, why, fields = row
    counts = f"{plural(fields, 'field', show=str)} where the header has {header.width}"
    if verdict == RAGGED:
        reason, detail = "ragged row", counts
    elif verdict == BROKEN:
        reason = "broken quoting"
        detail = f"a {name_of(sign)} or line end is expected after a closing quote"
    else:
        reason = "unclosed quote"
        detail = {
            WHY_END: "still open at the end of the file",
            WHY_LENGTH: f"still open after {limits.LONGEST_RECORD} bytes",
            WHY_FIELDS: f"closed on a later line, it makes {counts}",
        }.get(why, "on a later line there is text after a quote that would close it")
    return SetAside(line, reason, detail, make_excerpt(copy_start(data, begin, begin + size)), size)
