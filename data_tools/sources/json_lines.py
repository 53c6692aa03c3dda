"""Read files with one JSON value a line as blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources.block import Block, SetAside, join_spans, make_empty_block
from data_tools.sources.faults import describe_too_long, judge_record
from data_tools.sources.json_values import NotADocument, extract_text, parse_value
from data_tools.sources.lines import Lines, LongLine, read_lines
from data_tools.sources.options import InputConfig
from data_tools.sources.source import RecordCount, Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window


def read_json_lines(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
) -> Iterator[Block]:
    """Yield the documents of a slice."""
    window = Window(stream)
    mark = window.skip_mark() if part.begin == 0 else 0
    if mark:
        yield make_empty_block(overhead=mark)
    for item in read_lines(window, part.line):
        if isinstance(item, LongLine):
            count.records += 1
            yield make_empty_block(describe_too_long(item.number, item.size, item.start))
        else:
            yield _read(item, source, options, count)


def _read(item: Lines, source: SourceFile, options: InputConfig, count: RecordCount) -> Block:
    blank = item.find_blank()
    kept = np.flatnonzero(~blank)
    count.records += len(kept)
    sizes = item.nexts - item.begins
    texts: list[bytes] = []
    numbers: list[int] = []
    aside: list[SetAside] = []
    for number in kept.tolist():
        raw = item.data[item.begins[number] : item.ends[number]].tobytes()
        line, size = item.number + number, int(sizes[number])
        found = judge_record(
            raw, line=line, size=size, encoding=source.encoding, choice=options.encoding
        )
        if isinstance(found, SetAside):
            aside.append(found)
            continue
        try:
            texts.append(extract_text(parse_value(found), options.content_column))
            numbers.append(number)
        except NotADocument as error:
            aside.append(error.describe(line, found, size))
    data, begins, ends = join_spans(texts)
    chosen = np.array(numbers, np.int64)
    overhead = int(sizes[blank].sum())
    return Block(data, begins, ends, chosen + item.number, sizes[chosen], tuple(aside), overhead)
