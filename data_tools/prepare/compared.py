"""The documents of all units as one sequence: what is compared of them, wherever it is stored.

Those of the shards that are appended to come first. Of these the text is not known, only the
signature.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_tools.clean.compare import Corpus, Texts
from data_tools.clean.minhash import band_keys
from data_tools.clean.near import PERMUTATIONS, band_shape
from gpt2zh.data.arrow import numpy_column
from gpt2zh.text.kernels.compiled import compiled

_IN_MEMORY = 1 << 26  # bytes of text; more of them are mapped from a file


@dataclass(frozen=True)
class ComparedUnit:
    """What is compared of the documents of one unit."""

    number: int
    table: Path
    signatures: Path
    documents: int
    texts: Path | None = None
    text_sizes: Path | None = None
    """Both are None if the unit is already in the shards and cannot change any more."""

    @property
    def is_old(self) -> bool:
        """Whether the unit is already in the shards."""
        return self.texts is None

    def column(self, name: str) -> np.ndarray:
        """Return a column of the table, (documents,)."""
        # Not by `pq.read_table`, which imports pandas.
        return numpy_column(pq.ParquetFile(self.table).read(columns=[name])[name])

    def signed(self) -> np.ndarray:
        """Return the signatures, (documents, PERMUTATIONS) uint8."""
        return _mapped(self.signatures, np.uint8).reshape(-1, PERMUTATIONS)


def join_columns(units: Sequence[ComparedUnit], name: str) -> np.ndarray:
    """Return a column of the tables of all units, (documents,)."""
    return np.concatenate([unit.column(name) for unit in units])


def find_old(units: Sequence[ComparedUnit]) -> np.ndarray:
    """Return which documents are already in the shards, (documents,) bool."""
    flags = np.array([unit.is_old for unit in units], bool)
    return np.repeat(flags, np.array([unit.documents for unit in units], np.int64))


def make_corpus(units: Sequence[ComparedUnit], threshold: float, scratch: Path) -> Corpus:
    """Return the documents of the units as one sequence.

    Args:
        units: In order.
        threshold: Decides about bands.
        scratch: Folder for texts of large clusters while they are compared.
    """
    _, rows = band_shape(threshold)

    def keys(band: int) -> np.ndarray:
        return np.concatenate(
            [np.empty(0, np.uint64), *(band_keys(unit.signed(), band, rows) for unit in units)]
        )

    def signatures(documents: np.ndarray) -> np.ndarray:
        found = [unit.signed()[own] for unit, own in _by_unit(units, documents)]
        return np.concatenate([np.empty((0, PERMUTATIONS), np.uint8), *found])

    def texts(documents: np.ndarray) -> Texts:
        return _gather_texts(units, documents, scratch)

    return Corpus(keys, signatures, texts)


def _by_unit(
    units: Sequence[ComparedUnit], documents: np.ndarray
) -> Iterator[tuple[ComparedUnit, np.ndarray]]:
    """Yield each unit with the numbers, counted in the unit, of those documents that it has."""
    first = 0
    for unit in units:
        begin, end = np.searchsorted(documents, (first, first + unit.documents))
        yield unit, documents[begin:end] - first
        first += unit.documents


def _gather_texts(units: Sequence[ComparedUnit], documents: np.ndarray, scratch: Path) -> Texts:
    """Return the texts of documents; see `compare.Texts`."""
    places = []
    for unit, own in _by_unit(units, documents):
        if unit.text_sizes is None:
            places.append(np.full((2, len(own)), -1, np.int64))
        else:
            ends = np.cumsum(_mapped(unit.text_sizes, np.int64))
            begins = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
            places.append(np.stack((begins[own], ends[own])))
    sizes = np.concatenate([np.empty(0, np.int64), *(ends - begins for begins, ends in places)])
    buffer = _buffer(int(sizes.sum()), scratch)
    done = 0
    for unit, (begins, ends) in zip(units, places, strict=True):
        if unit.texts is not None and len(begins):
            count = int((ends - begins).sum())
            copy_spans(_mapped(unit.texts, np.uint8), begins, ends, buffer[done : done + count])
            done += count
    known = np.concatenate([np.empty(0, np.int64), *(ends for _, ends in places)]) >= 0
    ends = np.cumsum(sizes)
    return buffer, ends - sizes, np.where(known, ends, -1)


def _buffer(size: int, scratch: Path) -> np.ndarray:
    """Return an array for texts, (size,) uint8; a large one is a file that nobody else sees.

    Raises:
        OSError: The disk is full.
    """
    if size <= _IN_MEMORY:
        return np.empty(size, np.uint8)
    with tempfile.TemporaryFile(dir=scratch) as file:
        # Without its blocks the file could outgrow the disk when the array is filled, and the
        # system would end the process (SIGBUS) without a message.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.asarray(np.memmap(file, np.uint8, "r+"))


def _mapped(path: Path, kind: type[np.generic]) -> np.ndarray:
    """Map a file of numbers; an empty file cannot be mapped."""
    if not path.stat().st_size:
        return np.empty(0, kind)
    return np.asarray(np.memmap(path, kind, "r"))


@compiled
def copy_spans(data: np.ndarray, begins: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    """Copy spans of a buffer one after the other.

    Args:
        data: (s,) uint8.
        begins: (n,) int64.
        ends: (n,) int64.
        out: (sum of the sizes,) uint8, filled.
    """
    place = 0
    for span in range(len(begins)):
        for at in range(begins[span], ends[span]):
            out[place] = data[at]
            place += 1
