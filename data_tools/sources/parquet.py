"""Parquet files to blocks, by row groups. The texts stay where Arrow put them.

A slice is a run of row groups. It is named by their bytes in the file, like every other slice, so
it can be weighed and hashed like them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.sources import source as limits
from data_tools.sources.block import Block
from data_tools.sources.csv_header import find_column
from data_tools.sources.faults import beginning, too_long
from data_tools.sources.source import Slice, SourceFile, Tally
from data_tools.sources.text import sift
from gpt2zh.config.errors import UserError

_BUFFER = 1 << 20  # read at a time of a column


class ParquetSlice:
    """Reads one column of a run of row groups."""

    def __init__(self, source: SourceFile, part: Slice, column: str, tally: Tally) -> None:
        """Open the file.

        Raises:
            UserError: It is no Parquet file or lacks the column.
        """
        self.bytes_read = 0
        """Bytes of the values that Arrow handed out."""
        self.position = 0
        """Raw bytes done, in proportion to the records."""
        self._source = source
        self._part = part
        self._column = column
        self._tally = tally
        self._file = open_parquet(source, column)
        starts = _starts(self._file.metadata, source.bytes)
        # None in a file without rows, which some programs write.
        self._groups = [n for n, at in enumerate(starts[:-1]) if part.begin <= at < part.end]

    def blocks(self) -> Iterator[Block]:
        """Yield the documents.

        Raises:
            UserError: The file is damaged.
        """
        meta = self._file.metadata
        if not meta.num_row_groups:
            self.position = self._part.end - self._part.begin
            return
        groups = [meta.row_group(number) for number in self._groups]
        rows = sum(group.num_rows for group in groups)
        size = sum(_column_bytes(group, self._column) for group in groups)
        most = min(limits.BLOCK_DOCUMENTS, limits.BLOCK_BYTES * rows // max(size, 1))
        batches = self._file.iter_batches(
            max(most, 1), row_groups=self._groups, columns=[self._column], use_threads=False
        )
        number = self._part.line
        while (batch := self._next(batches)) is not None:
            values = batch.column(0)
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            values = values.cast(pa.large_binary())
            self.bytes_read += pc.sum(pc.binary_length(values)).as_py() or 0
            self._tally.records += batch.num_rows
            yield self._block(values, number)
            number += batch.num_rows
            done = (number - self._part.line) / rows
            self.position = round(done * (self._part.end - self._part.begin))
        self.position = self._part.end - self._part.begin

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self._source, error) from error

    def _block(self, values: Any, number: int) -> Block:
        _, offsets, texts = values.buffers()
        edges = np.frombuffer(offsets, np.int64)[values.offset :][: len(values) + 1]
        data = np.frombuffer(texts, np.uint8) if texts else np.zeros(0, np.uint8)
        begins, ends = edges[:-1], edges[1:]
        lines = np.arange(number, number + len(values))
        sizes = ends - begins
        aside = [
            too_long(number + n, int(sizes[n]), beginning(data, int(begins[n]), int(ends[n])))
            for n in np.flatnonzero(sizes > limits.LONGEST_RECORD).tolist()
        ]
        short = sizes <= limits.LONGEST_RECORD
        block = sift(
            data, begins[short], ends[short], lines[short], sizes[short], source=self._source
        )
        aside = sorted((*aside, *block.set_aside), key=lambda fault: fault.line)
        return replace(block, set_aside=tuple(aside))


def open_parquet(source: SourceFile, column: str) -> Any:
    """Open a file and look at its column.

    Raises:
        UserError: It is no Parquet file, or the column is missing or of another type than text.
    """
    try:
        file = pq.ParquetFile(source.path, buffer_size=_BUFFER, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise damaged(source, error) from error
    schema = file.schema_arrow
    place = find_column(schema.names, column, source.path, kind="column")
    kind = schema.types[place]
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_null(values):
        raise UserError(
            f"{source.path}: the column '{column}' holds no value at all; leave the file out"
        )
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(is_kind(values) for is_kind in kinds):
        raise UserError(
            f"{source.path}: the column '{column}' is of type {kind}, which is no text; name one "
            "of strings with --content-column"
        )
    return file


def cut_parquet(source: SourceFile, column: str, size: int) -> list[Slice]:
    """Cut a file between row groups, where about `size` bytes of text are together."""
    meta = open_parquet(source, column).metadata
    starts = _starts(meta, source.bytes)
    if len(starts) <= 2:
        return [Slice(0, source.bytes, 1)]
    slices: list[Slice] = []
    begin, line, next_line, weight = 0, 1, 1, 0
    for number, (_, end) in enumerate(pairwise(starts)):
        group = meta.row_group(number)
        weight += _column_bytes(group, column)
        next_line += group.num_rows
        if weight >= size or end == starts[-1]:
            slices.append(Slice(begin, end, line))
            begin, line, weight = end, next_line, 0
    return slices


def damaged(source: SourceFile, error: Exception) -> UserError:
    """Return what to tell of a file that Arrow refuses."""
    return UserError(
        f"{source.path} cannot be read as Parquet, it is damaged, cut off or something else "
        f"({error}); replace it with a whole copy or leave it out"
    )


def _starts(meta: Any, size: int) -> list[int]:
    """Return where each row group begins and the last one ends: the slices tile the file.

    A file whose row groups do not follow one another has but one of them, as it were.
    """
    starts = []
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        chunks = [group.column(n) for n in range(group.num_columns)]
        places = [(c.dictionary_page_offset, c.data_page_offset) for c in chunks]
        starts.append(min(at for pair in places for at in pair if at))
    starts = [0, *starts[1:], size]
    if any(a >= b for a, b in pairwise(starts)):
        return [0, size]
    return starts


def _column_bytes(group: Any, column: str) -> int:
    """Return the size of a column in a row group after decompression."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == column)
