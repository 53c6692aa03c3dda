"""A sample of the corpus: of every file so much as its size deserves, from several places.

Large files are looked at in three places, since collections are often sorted: over their whole
length, or over the first part of it where the corpus is very large.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from data_tools.sources.block import Block
from data_tools.sources.cut import cut
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader
from data_tools.sources.source import Slice, SourceFile
from data_tools.sources.stream import ByteStream

_Item = TypeVar("_Item")
_Kind = tuple[str, str]  # compression and encoding

_LEAST = 65_536  # bytes of a file below which opening it costs more than reading it
_PLACES = 3  # of a file that are looked at
_SCAN = 1_000_000_000  # bytes of all files that may be read to find these places; about a second
_ROOM = 4  # times the quota at least, so that no reading comes to where the search ended
_PROBE = 16_000_000  # bytes of text of a file that tell how tightly it is packed
_PROBED = 4  # files of a kind that are asked
_TIMED = 8  # files of which the beginning is read against the clock


@dataclass
class FileSample:
    """What was read of one file."""

    source: SourceFile
    blocks: list[Block] = field(default_factory=list)
    read: float = 0.0
    """Bytes of the file on the disk that the blocks are of; its whole size when all was read."""


def take_sample(
    sources: Sequence[SourceFile], options: InputConfig, budget: int
) -> list[FileSample]:
    """Read about `budget` bytes of text, and something of each file unless they are very many.

    Args:
        sources: Files, inspected.
        options: How to read them.
        budget: Bytes of all files together, decompressed.
    """
    samples = [FileSample(source) for source in sources]
    chosen = _spread(samples, max(1, budget // _LEAST))
    size = sum(sample.source.bytes for sample in chosen)
    ratios = _disk_per_text([sample.source for sample in chosen])
    for sample in chosen:
        quota = max(_LEAST, budget * sample.source.bytes // max(size, 1))
        scan = _SCAN * sample.source.bytes // max(size, 1)
        places = _places(sample.source, options, quota, scan)
        for part in places:
            _read(sample, part, options, quota // len(places), ratios[_kind(sample.source)])
    return samples


def reading_seconds(samples: Sequence[FileSample], options: InputConfig) -> float:
    """Return how long one core takes to read what is in the samples.

    Measured on a second reading of some of it, for a first one may have compiled the readers.
    """
    begun = time.process_time()
    text = 0
    for sample in _spread([sample for sample in samples if sample.blocks], _TIMED):
        reader = SliceReader(sample.source, Slice(0, sample.source.bytes, 1), options)
        next(iter(reader), None)
        text += reader.bytes_read
    seconds = time.process_time() - begun
    taken = sum(_decoded(block) for sample in samples for block in sample.blocks)
    return seconds * taken / max(text, 1)


def _spread(items: Sequence[_Item], limit: int) -> Sequence[_Item]:
    """Return at most `limit` of the items, evenly spread."""
    if len(items) <= limit:
        return items
    numbers = np.linspace(0, len(items) - 1, limit).astype(int).tolist()
    return [items[number] for number in numbers]


def _places(source: SourceFile, options: InputConfig, quota: int, scan: int) -> Sequence[Slice]:
    """Return the slices at whose beginnings to read; the whole file where it is small.

    To find out where a record of CSV begins, all before it must be read.
    """
    if not source.is_plain or source.bytes <= quota:
        return [Slice(0, source.bytes, 1)]
    if source.format != "parquet":
        source = replace(source, bytes=min(source.bytes, max(_ROOM * quota, scan)))
    return _spread(cut(source, options, -(-source.bytes // _PLACES)), _PLACES)


def _disk_per_text(sources: Sequence[SourceFile]) -> dict[_Kind, float]:
    """Return how many bytes of the disk make a byte of text, by kind of packing.

    A reader is ahead of its blocks by up to a million bytes of the disk, which may be a whole
    file; so some files are read to their end, or far.
    """
    kinds: dict[_Kind, list[SourceFile]] = {}
    for source in sources:
        kinds.setdefault(_kind(source), []).append(source)
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


def _kind(source: SourceFile) -> _Kind:
    return source.compression, source.encoding


def _read(
    sample: FileSample, part: Slice, options: InputConfig, wanted: int, disk_per_text: float
) -> None:
    """Read the beginning of a slice, so many bytes of text."""
    reader = SliceReader(sample.source, part, options)
    size = part.end - part.begin
    taken = 0
    blocks = iter(reader)
    for block in blocks:
        head = _head(block, wanted - taken)
        sample.blocks.append(head)
        taken += _decoded(head)
        if taken >= wanted:
            if sample.source.format == "parquet":
                decoded = reader.bytes_read
                next(blocks, None)  # its position moves when the next block is asked for
                disk_per_text = reader.position / max(decoded, 1)
            sample.read += min(size, taken * disk_per_text)
            return
    sample.read += size


def _decoded(block: Block) -> int:
    """Return the bytes of the decoded file that a block is of."""
    aside = sum(item.size for item in block.set_aside)
    return int(block.sizes.sum()) + aside + block.overhead


def _head(block: Block, wanted: float) -> Block:
    """Return the first documents of a block, at least so many bytes of them."""
    if _decoded(block) <= wanted or len(block) < 2:
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


def documents(samples: Sequence[FileSample]) -> Iterator[str]:
    """Yield the text of every document."""
    for sample in samples:
        for block in sample.blocks:
            yield from block.texts()
