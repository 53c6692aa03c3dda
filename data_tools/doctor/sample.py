"""Take a sample of the corpus: from every file in proportion to its size.

A large file is read at three places, because collections are often sorted. The places are spread
over the whole file, or over its first part if the corpus is very large.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from data_tools.sources.block import Block, SetAside
from data_tools.sources.cut import cut
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream

_Item = TypeVar("_Item")
_Kind = tuple[str, str]  # compression and encoding

_LEAST = 65_536  # bytes; for fewer of them, opening a file costs more than reading it
_PLACES = 3  # at which a large file is read
_SCAN = 1_000_000_000  # bytes of all files that may be read to find the places; about a second
_ROOM = 4  # the scan covers at least this many quotas, so that no sample reaches the end of it
_PROBE = 16_000_000  # bytes of text of a file that are read to measure its compression ratio
_PROBED = 4  # files of each kind whose compression ratio is measured
_TIMED = 8  # files whose first block is read to measure the speed


@dataclass
class FileSample:
    """The part of one file that was read."""

    source: SourceFile
    blocks: list[Block] = field(default_factory=list)
    read: float = 0.0
    """Bytes of the file on the disk that the blocks cover; the size of the file if all was read."""


def take_sample(
    sources: Sequence[SourceFile],
    options: InputConfig,
    budget: int,
    *,
    advance: Callable[[float], None] = lambda share: None,
) -> list[FileSample]:
    """Read about `budget` bytes of text, from every file unless there are very many.

    Args:
        sources: The inspected files.
        options: How to read them.
        budget: Bytes to read from all files together, decompressed.
        advance: Gets the share that is done, 0 to 1.

    Returns:
        One sample for each file; it is empty for files that were not read.
    """
    samples = [FileSample(source) for source in sources]
    chosen = _spread(samples, max(1, budget // _LEAST))
    size = sum(sample.source.bytes for sample in chosen)
    ratios = _measure_compression([sample.source for sample in chosen])
    done = 0
    for sample in chosen:
        quota = max(_LEAST, budget * sample.source.bytes // max(size, 1))
        scan = _SCAN * sample.source.bytes // max(size, 1)
        places = _choose_places(sample.source, options, quota, scan)
        for part in places:
            _read(sample, part, options, quota // len(places), ratios[_kind_of(sample.source)])
        done += sample.source.bytes
        advance(done / max(size, 1))
    return samples


def list_set_aside(samples: Sequence[FileSample]) -> Iterator[tuple[str, SetAside]]:
    """Yield the files and records of the samples that were set aside."""
    for sample in samples:
        for block in sample.blocks:
            yield from ((sample.source.path.as_posix(), item) for item in block.set_aside)


def measure_reading(samples: Sequence[FileSample], options: InputConfig) -> float:
    """Return the seconds that one core needs to read the samples.

    Some files are read a second time to measure this, because the first time may include compiling
    the readers.
    """
    begun = time.process_time()
    text = 0
    for sample in _spread([sample for sample in samples if sample.blocks], _TIMED):
        reader = SliceReader(sample.source, Slice(0, sample.source.bytes, 1), options)
        next(iter(reader), None)
        text += reader.bytes_read
    seconds = time.process_time() - begun
    taken = sum(_count_bytes(block) for sample in samples for block in sample.blocks)
    return seconds * taken / max(text, 1)


def _spread(items: Sequence[_Item], limit: int) -> Sequence[_Item]:
    """Return at most `limit` of the items, evenly spread."""
    if len(items) <= limit:
        return items
    numbers = np.linspace(0, len(items) - 1, limit).astype(int).tolist()
    return [items[number] for number in numbers]


def _choose_places(
    source: SourceFile, options: InputConfig, quota: int, scan: int
) -> Sequence[Slice]:
    """Return the slices whose beginnings are read; for a small file the whole file.

    `scan` limits how far into a file the places may lie: to find where a CSV record begins, all
    bytes before it must be read.
    """
    if not source.is_plain or source.bytes <= quota:
        return [Slice(0, source.bytes, 1)]
    if source.format != "parquet":
        source = replace(source, bytes=min(source.bytes, max(_ROOM * quota, scan)))
    return _spread(cut(source, options, -(-source.bytes // _PLACES)), _PLACES)


def _measure_compression(sources: Sequence[SourceFile]) -> dict[_Kind, float]:
    """Return the bytes on the disk per byte of text, by compression and encoding.

    A reader may have read a million bytes more of the disk than its blocks need, which may be a
    whole file. So some files are read to the end, or at least far.
    """
    kinds: dict[_Kind, list[SourceFile]] = {}
    for source in sources:
        kinds.setdefault(_kind_of(source), []).append(source)
    ratios = dict.fromkeys(kinds, 1.0)
    buffer = memoryview(bytearray(_PROBE // 4))
    for kind, alike in kinds.items():
        if alike[0].is_plain:
            continue
        disk = text = 0
        for source in _spread(alike, _PROBED):
            with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
                while stream.readinto(buffer) == len(buffer) and stream.bytes_read < _PROBE:
                    pass
                disk, text = disk + stream.position, text + stream.bytes_read
        ratios[kind] = disk / max(text, 1)
    return ratios


def _kind_of(source: SourceFile) -> _Kind:
    return source.compression, source.encoding


def _read(
    sample: FileSample, part: Slice, options: InputConfig, wanted: int, disk_per_text: float
) -> None:
    """Read about `wanted` bytes of text from the beginning of a slice."""
    reader = SliceReader(sample.source, part, options)
    size = part.end - part.begin
    taken = 0
    blocks = iter(reader)
    for block in blocks:
        head = _take_first(block, wanted - taken)
        sample.blocks.append(head)
        taken += _count_bytes(head)
        if taken >= wanted:
            if sample.source.format == "parquet":
                decoded = reader.bytes_read
                next(blocks, None)  # the position changes only with the next block
                disk_per_text = reader.position / max(decoded, 1)
            sample.read += min(size, taken * disk_per_text)
            return
    sample.read += size


def _count_bytes(block: Block) -> int:
    """Return the bytes of the decoded file that a block covers."""
    aside = sum(item.size for item in block.set_aside)
    return int(block.sizes.sum()) + aside + block.overhead


def _take_first(block: Block, wanted: float) -> Block:
    """Return the first documents of a block, with at least `wanted` bytes if it has so many."""
    if _count_bytes(block) <= wanted or len(block) < 2:
        return block
    count = int(np.searchsorted(np.cumsum(block.sizes), wanted)) + 1
    if count >= len(block):
        return block
    last = int(block.lines[count])
    return replace(
        block,
        begins=block.begins[:count],
        ends=block.ends[:count],
        lines=block.lines[:count],
        sizes=block.sizes[:count],
        set_aside=tuple(item for item in block.set_aside if item.line < last),
    )


def read_documents(samples: Sequence[FileSample]) -> Iterator[str]:
    """Yield the text of every document."""
    for sample in samples:
        for block in sample.blocks:
            yield from block.texts()
