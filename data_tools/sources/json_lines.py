"""Files with one JSON value in each line to blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.faults import bad_text, too_long
from data_tools.sources.json_values import NoDocument, document_of
from data_tools.sources.lines import Lines, LongLine, read_lines
from data_tools.sources.options import InputConfig
from data_tools.sources.source import Slice, SourceFile, Tally
from data_tools.sources.stream import ByteStream
from data_tools.sources.text import aside_block
from data_tools.sources.window import Window


def read_json_lines(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, tally: Tally
) -> Iterator[Block]:
    """Yield the documents of a slice."""
    window = Window(stream)
    mark = window.skip_mark() if part.begin == 0 else 0
    if mark:
        yield aside_block(overhead=mark)
    for item in read_lines(window, part.line):
        if isinstance(item, LongLine):
            tally.records += 1
            yield aside_block(too_long(item.number, item.size, item.start))
        else:
            yield _read(item, source, options.content_column, tally)


def _read(item: Lines, source: SourceFile, key: str, tally: Tally) -> Block:
    blank = item.blank()
    kept = np.flatnonzero(~blank)
    tally.records += len(kept)
    sizes = item.nexts - item.begins
    texts: list[bytes] = []
    numbers: list[int] = []
    aside: list[SetAside] = []
    for number in kept.tolist():
        raw = item.data[item.begins[number] : item.ends[number]].tobytes()
        line, size = item.number + number, int(sizes[number])
        fault = bad_text(raw, line=line, size=size, encoding=source.encoding)
        if fault is None:
            try:
                texts.append(document_of(_parse(raw), key))
                numbers.append(number)
            except NoDocument as none:
                fault = none.aside(line, raw, size)
        if fault is not None:
            aside.append(fault)
    data, begins, ends = join_spans(texts)
    chosen = np.array(numbers, np.int64)
    overhead = int(sizes[blank].sum())
    return Block(data, begins, ends, chosen + item.number, sizes[chosen], tuple(aside), overhead)


def _parse(raw: bytes) -> object:
    try:
        return json.loads(raw.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise NoDocument("bad JSON", f"{error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        raise NoDocument("bad JSON", str(error)) from None
