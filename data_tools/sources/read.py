"""Slices of files to blocks: one reader for every format.

Every byte is accounted for: the sizes of documents and of what is set aside, and the overhead,
sum up to what the stream counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from data_tools.sources.block import Block
from data_tools.sources.csv_reader import read_csv
from data_tools.sources.json_lines import read_json_lines
from data_tools.sources.json_list import read_json_list
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import ParquetSlice
from data_tools.sources.source import Format, Slice, SourceFile, Tally
from data_tools.sources.stream import ByteStream, slice_digest
from data_tools.sources.text import read_text

__all__ = ["SliceReader", "slice_digest"]

_Read = Callable[[ByteStream, SourceFile, Slice, InputConfig, Tally], Iterator[Block]]

_READERS: dict[Format, _Read] = {
    "csv": read_csv,
    "jsonl": read_json_lines,
    "json": read_json_list,
    "text": read_text,
}


class SliceReader:
    """Reads one slice of a file; iterate for blocks of a few MB, in order.

    Iterating raises a `UserError` if the file is damaged or became shorter.
    """

    def __init__(self, source: SourceFile, part: Slice, options: InputConfig) -> None:
        """Open nothing yet."""
        self._source = source
        self._part = part
        self._options = options
        self._tally = Tally()
        self._counter: ByteStream | ParquetSlice | None = None
        self.digest = ""
        """xxh3_128 of the raw bytes of the slice, in hex; known when the iteration is over."""

    @property
    def position(self) -> int:
        """Raw bytes of the slice that are done."""
        return self._counter.position if self._counter else 0

    @property
    def bytes_read(self) -> int:
        """Decoded bytes of the slice as its stream counted them; of Parquet those of the values."""
        return self._counter.bytes_read if self._counter else 0

    @property
    def records(self) -> int:
        """Records met, documents and those set aside."""
        return self._tally.records

    def __iter__(self) -> Iterator[Block]:
        self._tally.records = 0
        for block in self._parquet() if self._source.format == "parquet" else self._stream():
            if len(block) or block.set_aside or block.overhead:
                yield block

    def _stream(self) -> Iterator[Block]:
        read = _READERS[self._source.format]
        with ByteStream(self._source, self._part) as stream:
            self._counter = stream
            yield from read(stream, self._source, self._part, self._options, self._tally)
            self.digest = stream.digest

    def _parquet(self) -> Iterator[Block]:
        column = self._options.content_column
        self._counter = ParquetSlice(self._source, self._part, column, self._tally)
        yield from self._counter.blocks()
        self.digest = slice_digest(self._source, self._part)
