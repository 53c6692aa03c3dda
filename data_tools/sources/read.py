"""Read slices of files as blocks, with one class for all formats.

Every byte is accounted for: the sizes of documents and of records set aside, and the overhead, add
up to the bytes that the stream counted.

The rest of a damaged file is one record that is set aside. It begins where the last complete record
ends, and its size is that of the bytes that could be decompressed after this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from data_tools.sources.block import Block, SetAside, make_empty_block
from data_tools.sources.csv_reader import read_csv
from data_tools.sources.json_lines import read_json_lines
from data_tools.sources.json_list import read_json_list
from data_tools.sources.options import InputConfig
from data_tools.sources.parquet import ParquetSlice
from data_tools.sources.source import Format, RecordCount, Slice, SourceFile
from data_tools.sources.stream import DAMAGED, ByteStream, DamagedError, slice_digest
from data_tools.sources.text import read_text

__all__ = ["SliceReader", "slice_digest"]

_Read = Callable[[ByteStream, SourceFile, Slice, InputConfig, RecordCount], Iterator[Block]]

_READERS: dict[Format, _Read] = {
    "csv": read_csv,
    "jsonl": read_json_lines,
    "json": read_json_list,
    "json values": read_json_list,
    "text": read_text,
}


class SliceReader:
    """Reads one slice of a file. Iterate over it to get blocks of a few MB, in order.

    Iterating raises `UserError` if the file became shorter.
    """

    def __init__(self, source: SourceFile, part: Slice, options: InputConfig) -> None:
        """Store the arguments; iterating opens the file."""
        self._source = source
        self._part = part
        self._options = options
        self._count = RecordCount()
        self._progress: ByteStream | ParquetSlice | None = None
        self.digest = ""
        """xxh3_128 of the raw bytes of the slice, in hex; set at the end of the iteration."""

    @property
    def position(self) -> int:
        """Raw bytes of the slice that were read."""
        return self._progress.position if self._progress else 0

    @property
    def bytes_read(self) -> int:
        """Decoded bytes of the slice that were read; for Parquet the bytes of the values."""
        return self._progress.bytes_read if self._progress else 0

    @property
    def records(self) -> int:
        """Records that were read: documents and records set aside."""
        return self._count.records

    def __iter__(self) -> Iterator[Block]:
        self._count.records = 0
        is_parquet = self._source.format == "parquet"
        for block in self._read_parquet() if is_parquet else self._read_stream():
            if len(block) or block.set_aside or block.overhead:
                yield block

    def _read_stream(self) -> Iterator[Block]:
        read = _READERS[self._source.format]
        with ByteStream(self._source, self._part) as stream:
            self._progress = stream
            accounted, records, line = 0, 0, self._part.line
            try:
                for block in read(stream, self._source, self._part, self._options, self._count):
                    accounted += block.bytes
                    records += len(block) + len(block.set_aside)
                    line = max(line, _last_line(block))
                    yield block
            except DamagedError:
                self._count.records = records  # without those that were not delivered
            stream.drain()
            if stream.damage:
                self._count.records += 1
                place = f"after line {line}, at byte {accounted} of its text"
                detail = f"{stream.damage}; nothing was read {place}"
                size = stream.bytes_read - accounted
                yield make_empty_block(SetAside(line + 1, DAMAGED, detail, "", size))
            self.digest = stream.digest

    def _read_parquet(self) -> Iterator[Block]:
        self._progress = reader = ParquetSlice(self._source, self._part, self._options, self._count)
        yield from reader.read_blocks()
        self.digest = slice_digest(self._source, self._part)


def _last_line(block: Block) -> int:
    """Return the line of the last record of a block; 0 if it has none."""
    lines = [one.line for one in block.set_aside[-1:]] + block.lines[-1:].tolist()
    return max(lines, default=0)
