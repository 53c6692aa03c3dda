"""Read the bytes of a file as UTF-8, also if the file is compressed or in another encoding.

Raw bytes are counted and hashed, for progress and to notice a file that changed. Decoded bytes are
counted, so that tests can check that a reader accounts for every byte.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from data_tools.sources.mixed import MARK_BAD, Gb18030Lines
from data_tools.sources.source import Slice, SourceFile
from gpt2zh.config.errors import UserError

_RAW_BYTES = 1 << 20  # read at a time from a file that must be decompressed or decoded
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


class ByteStream:
    """A slice of a file, decompressed and decoded to UTF-8."""

    def __init__(self, source: SourceFile, part: Slice) -> None:
        """Open the file.

        Raises:
            UserError: The file cannot be opened.
        """
        self.bytes_read = 0
        """Decoded bytes that were returned."""
        self._source = source
        self._raw = _RawSlice(open_file(source.path), source.path, part)
        self._decoded: Any = self._raw
        if source.compression == "gzip":
            self._decoded = gzip.GzipFile(fileobj=io.BufferedReader(self._raw, _RAW_BYTES))
        elif source.compression == "zstd":
            self._decoded = pa.CompressedInputStream(pa.PythonFile(self._raw, "r"), "zstd")
        if source.encoding == "gb18030":
            self._decoded = Gb18030Lines(self._decoded)
        elif source.encoding not in ("utf-8", "utf-8-sig"):
            self._decoded = _Transcoder(self._decoded, source.encoding)

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
        """Fill a buffer; return the number of bytes, which is less than its size only at the end.

        Raises:
            UserError: The file is damaged, or became shorter.
        """
        filled = 0
        while filled < len(buffer):
            try:
                count = self._decoded.readinto(buffer[filled:])
            except _DAMAGE as error:
                raise UserError(
                    f"{self._source.path} cannot be decompressed: it is damaged or incomplete "
                    f"({error}); replace it with a complete copy or remove it from --input"
                ) from error
            if not count:
                break
            filled += count
        self.bytes_read += filled
        return filled


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
                f"cannot read {self._path}: {error.strerror}; check the disk, then run the command "
                "again"
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


class _Transcoder(io.RawIOBase):
    """Converts a stream of UTF-16 to UTF-8."""

    def __init__(self, inner: Any, encoding: str) -> None:
        self._inner = inner
        self._decoder = codecs.getincrementaldecoder(encoding)(errors=MARK_BAD)
        self._ready = b""
        self._taken = 0
        self._is_last = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._taken == len(self._ready) and not self._is_last:
            data = self._inner.read(_RAW_BYTES)
            self._is_last = not data
            text = self._decoder.decode(data, final=self._is_last)
            self._ready, self._taken = text.encode("utf-8", "surrogateescape"), 0
        count = min(len(buffer), len(self._ready) - self._taken)
        buffer[:count] = self._ready[self._taken : self._taken + count]
        self._taken += count
        return count
