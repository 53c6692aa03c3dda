"""Read Parquet files as blocks, by row groups, without copying the texts out of Arrow's buffers.

A slice is a run of row groups. It is given by its bytes in the file, as for every other format, so
that all slices can be compared by size and hashed in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside, make_empty_block
from data_tools.sources.column import find_column
from data_tools.sources.detect import EncodingChoice
from data_tools.sources.faults import copy_start, describe_too_long, set_bad_aside
from data_tools.sources.options import InputConfig
from data_tools.sources.source import RecordCount, Slice, SourceFile
from data_tools.sources.stream import DAMAGED
from gpt2zh.config.errors import UserError

_BUFFER = 1 << 20  # bytes of a column that are read at a time
_DAMAGE = (OSError, pa.ArrowException)


@dataclass(frozen=True)
class _Unread:
    """Rows that cannot be read."""

    rows: int
    why: str


@dataclass(frozen=True)
class _Unit:
    """Row groups that are read together, and the first of their bytes."""

    begin: int
    groups: tuple[int, ...]


class ParquetSlice:
    """Reads one column of a run of row groups."""

    def __init__(
        self, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
    ) -> None:
        """Open the file.

        Raises:
            UserError: The file is not a Parquet file or lacks the column.
        """
        self.bytes_read = 0
        """Bytes of the values that were read."""
        self.position = 0
        """Raw bytes that were read, estimated from the share of records."""
        self._source = source
        self._part = part
        self._choice: EncodingChoice = options.encoding
        self._count = count
        self._file, self._column = open_parquet(source, options.content_column)
        units = _find_units(self._file.metadata)
        # Empty for a file without rows, which some programs write.
        self._groups = [
            group for unit in units if part.begin <= unit.begin < part.end for group in unit.groups
        ]

    def read_blocks(self) -> Iterator[Block]:
        """Yield the documents. Rows of a row group that cannot be read are set aside at once.

        Raises:
            UserError: The disk fails.
        """
        meta = self._file.metadata
        if not self._groups:
            self.position = self._part.end - self._part.begin
            return
        groups = [meta.row_group(number) for number in self._groups]
        rows = sum(group.num_rows for group in groups)
        size = sum(_measure_column(group, self._column) for group in groups)
        most = min(limits.BLOCK_DOCUMENTS, limits.BLOCK_BYTES * rows // max(size, 1))
        number = self._part.line
        for batch in self._read_batches(max(most, 1)):
            if isinstance(batch, _Unread):
                self._count.records += 1
                detail = f"rows {number} to {number + batch.rows - 1}: {batch.why}"
                yield make_empty_block(SetAside(number, DAMAGED, detail, "", 0))
                number += batch.rows
            else:
                values = batch.column(0)
                if pa.types.is_dictionary(values.type):
                    values = values.dictionary_decode()
                values = values.cast(pa.large_binary())
                self.bytes_read += pc.sum(pc.binary_length(values)).as_py() or 0
                self._count.records += batch.num_rows
                yield self._make_block(values, number)
                number += batch.num_rows
            done = (number - self._part.line) / rows
            self.position = round(done * (self._part.end - self._part.begin))
        self.position = self._part.end - self._part.begin

    def _read_batches(self, size: int) -> Iterator[Any]:
        """Yield batches of at most `size` rows; of a damaged row group those that come first."""
        done = 0
        try:
            for batch in self._iterate(self._groups, size):
                done += batch.num_rows
                yield batch
            return
        except _DAMAGE as error:
            self._refuse_other_than_damage(error)
        # Row group by row group it may be possible to read what comes after.
        begin = 0
        for group in self._groups:
            rows = self._file.metadata.row_group(group).num_rows
            read = begin
            try:
                for batch in self._iterate([group], size) if begin + rows > done else ():
                    read += batch.num_rows
                    if read > done:
                        yield batch.slice(max(0, batch.num_rows - (read - done)))
            except _DAMAGE as error:
                self._refuse_other_than_damage(error)
                yield _Unread(begin + rows - max(read, done), str(error))
            begin += rows

    def _refuse_other_than_damage(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno:  # of the system, not of Arrow
            raise UserError(
                f"cannot read {self._source.path}: {error}; check the disk or move the "
                "file away, then run the command again"
            ) from error

    def _iterate(self, groups: Sequence[int], size: int) -> Iterator[Any]:
        return iter(
            self._file.iter_batches(
                size, row_groups=groups, columns=[self._column], use_threads=False
            )
        )

    def _make_block(self, values: Any, number: int) -> Block:
        # The buffers are read directly: Arrow's `to_numpy` would import pandas, which is slow.
        _, offsets, texts = values.buffers()
        edges = np.frombuffer(offsets, np.int64)[values.offset :][: len(values) + 1]
        data = np.frombuffer(texts, np.uint8) if texts else np.zeros(0, np.uint8)
        begins, ends = edges[:-1], edges[1:]
        lines = np.arange(number, number + len(values))
        sizes = ends - begins
        aside = [
            describe_too_long(
                number + n, int(sizes[n]), copy_start(data, int(begins[n]), int(ends[n]))
            )
            for n in np.flatnonzero(sizes > limits.LONGEST_RECORD).tolist()
        ]
        short = sizes <= limits.LONGEST_RECORD
        block = Block(data, begins[short], ends[short], lines[short], sizes[short], tuple(aside))
        return set_bad_aside(block, self._source.encoding, self._choice)


def open_parquet(source: SourceFile, column: str) -> tuple[Any, str]:
    """Open a file, check its column, and return both; the column by its name in the file.

    Raises:
        UserError: The file is not a Parquet file, or the column is missing or does not hold text.
    """
    try:
        file = pq.ParquetFile(source.path, buffer_size=_BUFFER, pre_buffer=False)
    except _DAMAGE as error:
        raise _make_damage_error(source, error) from error
    schema = file.schema_arrow
    place = find_column(schema.names, column, source.path)
    kind = schema.types[place]
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_null(values):
        raise UserError(
            f"{source.path}: the column '{column}' holds no value at all; remove the file from "
            "--input"
        )
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(is_kind(values) for is_kind in kinds):
        raise UserError(
            f"{source.path}: the column '{column}' is of type {kind}, which is not text; choose a "
            "column of strings with --content-column"
        )
    return file, schema.names[place]


def cut_parquet(source: SourceFile, column: str, size: int) -> list[Slice]:
    """Cut a file between row groups into slices of about `size` bytes of text."""
    file, column = open_parquet(source, column)
    meta = file.metadata
    units = _find_units(meta)
    slices: list[Slice] = []
    begin, line, next_line, weight = 0, 1, 1, 0
    for unit, following in pairwise([*units, _Unit(source.bytes, ())]):
        groups = [meta.row_group(number) for number in unit.groups]
        weight += sum(_measure_column(group, column) for group in groups)
        next_line += sum(group.num_rows for group in groups)
        if weight >= size or following.begin == source.bytes:
            slices.append(Slice(begin, following.begin, line))
            begin, line, weight = following.begin, next_line, 0
    return slices or [Slice(0, source.bytes, 1)]


def _make_damage_error(source: SourceFile, error: Exception) -> UserError:
    """Return the error for a file that Arrow cannot read."""
    return UserError(
        f"{source.path} cannot be read as Parquet: it is damaged, incomplete or of another format "
        f"({error}); replace it with a complete copy or remove it from --input"
    )


def _find_units(meta: Any) -> list[_Unit]:
    """Return the units of a file, in order; none if it has no rows.

    Each row group with rows is one. The first one begins at 0, so that slices cover the file. If
    the row groups do not lie in the file in their order, all together are one unit.
    """
    numbers = [n for n in range(meta.num_row_groups) if meta.row_group(n).num_rows]
    begins = [0, *(_find_begin(meta.row_group(n)) for n in numbers[1:])]
    if any(a >= b for a, b in pairwise(begins)):
        return [_Unit(0, tuple(numbers))]
    return [_Unit(begin, (n,)) for begin, n in zip(begins[: len(numbers)], numbers, strict=True)]


def _find_begin(group: Any) -> int:
    """Return the first byte of a row group; 0 if the file does not say it."""
    chunks = [group.column(number) for number in range(group.num_columns)]
    places = [(chunk.dictionary_page_offset, chunk.data_page_offset) for chunk in chunks]
    return min((at for pair in places for at in pair if at), default=0)


def _measure_column(group: Any, column: str) -> int:
    """Return the bytes of a column in a row group, decompressed."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == column)
