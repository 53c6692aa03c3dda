"""Reading bytes as a file of any kind, with every promise of a reader checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data_tools.sources import source, window
from data_tools.sources.block import SetAside
from data_tools.sources.cut import cut
from data_tools.sources.find import SourceFile, inspect
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader, slice_digest
from data_tools.sources.source import Slice


@dataclass
class Reading:
    """All that was read of some slices."""

    documents: list[tuple[int, str]] = field(default_factory=list)
    """Line and text."""
    sizes: list[int] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)
    overhead: int = 0
    blocks: int = 0

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.documents]

    @property
    def faults(self) -> list[tuple[int, str, int]]:
        """Line, reason and size."""
        return [(fault.line, fault.reason, fault.size) for fault in self.aside]


Read = Callable[..., Reading]


class Stream:
    """Bytes in memory, read as a `ByteStream` is."""

    damage = ""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def readinto(self, buffer: memoryview) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def read_slices(source: SourceFile, parts: Sequence[Slice], options: InputConfig) -> Reading:
    """Read slices one after the other."""
    reading = Reading()
    for part in parts:
        reader = SliceReader(source, part, options)
        accounted, records, position = 0, 0, 0
        for block in reader:
            for array in (block.begins, block.ends, block.lines, block.sizes):
                assert array.dtype == "int64" and len(array) == len(block)
            assert len(block) <= 20_000 and (block.begins[1:] >= block.begins[:-1]).all()
            assert (block.lines[1:] > block.lines[:-1]).all()
            texts = block.texts()
            assert not any("\0" in text for text in texts)
            reading.documents += zip(block.lines.tolist(), texts, strict=True)
            reading.sizes += block.sizes.tolist()
            reading.aside += block.set_aside
            reading.overhead += block.overhead
            reading.blocks += 1
            aside = sum(fault.size for fault in block.set_aside)
            accounted += int(block.sizes.sum()) + aside + block.overhead
            records += len(block) + len(block.set_aside)
            assert position <= reader.position <= part.end - part.begin
            position = reader.position
        assert accounted == reader.bytes_read
        assert records == reader.records
        assert reader.position == part.end - part.begin
        assert reader.digest == slice_digest(source, part)
        if source.is_plain and source.format != "parquet":
            assert reader.bytes_read == part.end - part.begin
    lines = [line for line, _ in reading.documents]
    assert lines == sorted(set(lines))
    assert [fault.line for fault in reading.aside] == sorted(fault.line for fault in reading.aside)
    return reading


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads bytes as the file `name`, cut into slices of `size` bytes."""

    def read(name: str, data: bytes | Path, *, size: int = 0, **options: str) -> Reading:
        path = data if isinstance(data, Path) else tmp_path / name
        if not isinstance(data, Path):
            path.write_bytes(data)
        config = InputConfig(input=(str(path),), **options)
        found = inspect(path, config)
        parts = cut(found, config, size or found.bytes + 1)
        assert [part.begin for part in parts] == [0, *(part.end for part in parts[:-1])]
        assert parts[-1].end == found.bytes
        return read_slices(found, parts, config)

    return read


@pytest.fixture
def set_limits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes chunks and limits so small that everything is at an edge."""

    def change(*, chunk: int = 0, longest: int = 0, documents: int = 0) -> None:
        monkeypatch.setattr(window, "CHUNK", chunk or window.CHUNK)
        monkeypatch.setattr(source, "LONGEST_RECORD", longest or source.LONGEST_RECORD)
        monkeypatch.setattr(source, "BLOCK_DOCUMENTS", documents or source.BLOCK_DOCUMENTS)

    return change
