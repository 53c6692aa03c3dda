"""Read the bytes of a file as UTF-8, also if the file is compressed or in another encoding.

Raw bytes are counted and hashed, for progress and to notice a file that changed. Decoded bytes are
counted, so that tests can check that a reader accounts for every byte.

A compressed file may be damaged. What is decompressed before the damage is delivered, and only the
next call raises `DamagedError`. So a reader that waits for the rest of a record never takes a part
of it for the whole.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from data_tools.sources.mixed import Gb18030Lines
from data_tools.sources.source import UTF8, Slice, SourceFile
from data_tools.sources.transcode import Utf16
from gpt2zh.config.errors import UserError

DAMAGED = "damaged file"
"""Reason for which the rest of a damaged file is set aside."""

_RAW_BYTES = 1 << 20  # read at a time from a file that must be decompressed or decoded
_STEP = 1 << 16  # bytes decompressed at a time; at most so many before a damage are lost with it
_DAMAGE = (EOFError, OSError, zlib.error, pa.ArrowException)


def open_file(path: Path) -> io.FileIO:
    """Open a file for reading, without a buffer.

    Raises:
        UserError: The file cannot be opened.
    """
    try:
        return io.FileIO(path)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; make it readable or remove it from --input"
        ) from error


def slice_digest(source: SourceFile, part: Slice) -> str:
    """Return the xxh3_128 of a slice in hex, equal to `SliceReader.digest`, without parsing.

    Raises:
        UserError: The file cannot be read or is too short.
    """
    with _RawSlice(open_file(source.path), source.path, part) as raw:
        raw.drain()
        return raw.hash.hexdigest()


class DamagedError(UserError):
    """The rest of a compressed file cannot be read."""


class ByteStream:
    """A slice of a file, decompressed and decoded to UTF-8."""

    def __init__(self, source: SourceFile, part: Slice) -> None:
        """Open the file.

        Raises:
            UserError: The file cannot be opened.
        """
        self.bytes_read = 0
        """Decoded bytes that were returned."""
        self.damage = ""
        """Why the bytes after those that were returned cannot be read; usually nothing."""
        self._source = source
        self._raw = _RawSlice(open_file(source.path), source.path, part)
        self._decoded: Any = self._raw
        self._step = _STEP if source.compression else sys.maxsize
        if source.compression == "gzip":
            self._decoded = gzip.GzipFile(fileobj=io.BufferedReader(self._raw, _RAW_BYTES))
        elif source.compression == "zstd":
            self._decoded = pa.CompressedInputStream(pa.PythonFile(self._raw, "r"), "zstd")
        size = min(self._step, _RAW_BYTES)
        if source.encoding == "gb18030":
            self._decoded = Gb18030Lines(self._decoded, size)
        elif source.encoding not in UTF8:
            self._decoded = Utf16(self._decoded, size, source.encoding)

    @property
    def position(self) -> int:
        """Raw bytes that were read."""
        return self._raw.position

    @property
    def digest(self) -> str:
        """xxh3_128 of the raw bytes read so far, in hex."""
        return self._raw.hash.hexdigest()

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer; return the number of bytes.

        It is less than the size of the buffer only at the end or before damaged bytes.

        Raises:
            DamagedError: There are no bytes before those that are damaged.
            UserError: The file became shorter.
        """
        filled = 0
        while filled < len(buffer) and not self.damage:
            try:
                count = self._decoded.readinto(buffer[filled : filled + self._step])
            except _DAMAGE as error:
                self.damage = str(error) or type(error).__name__
                break
            if not count:
                break
            filled += count
        self.bytes_read += filled
        if self.damage and not filled:
            self.refuse_damage()
        return filled

    def refuse_damage(self) -> None:
        """Raise an error if the file turned out to be damaged.

        Raises:
            DamagedError: It did.
        """
        if self.damage:
            raise DamagedError(
                f"{self._source.path} cannot be decompressed: it is damaged or incomplete "
                f"({self.damage}); replace it with a complete copy or remove it from --input; "
                "if it is not compressed at all, remove the last suffix of its name"
            )

    def drain(self) -> None:
        """Read the rest of the raw bytes, so that all are hashed."""
        self._raw.drain()


class _RawSlice(io.RawIOBase):
    """The raw bytes of a slice of a file."""

    def __init__(self, file: io.FileIO, path: Path, part: Slice) -> None:
        self.position = 0
        self.hash = xxhash.xxh3_128()
        self._path = path
        self._left = part.end - part.begin
        self._file = file
        file.seek(part.begin)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left]
        if not len(view):
            return 0
        try:
            count = self._file.readinto(view)
        except OSError as error:
            raise UserError(
                f"cannot read {self._path}: {error.strerror}; check the disk or move the file "
                "away, then run the command again"
            ) from error
        if not count:
            raise UserError(
                f"{self._path} became shorter while it was read; do not change the input until the "
                "command has finished"
            )
        self.hash.update(view[:count])
        self.position += count
        self._left -= count
        return count

    def drain(self) -> None:
        buffer = bytearray(min(_RAW_BYTES, self._left))
        while self.readinto(buffer):
            pass

    def close(self) -> None:
        self._file.close()
        super().close()
