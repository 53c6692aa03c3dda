"""The file format of token rows, which are written once and then memory-mapped.

A shard is an Arrow IPC *stream* with a single record batch. Its column `input_ids` is
fixed_size_list<uint16>[row_length] (uint32 for a large vocabulary). An optional second column
`loss_mask`, fixed_size_list<uint8>[row_length], is 1 for tokens that count in the loss and 0 for
others; without it all tokens count. With one batch, each column is one contiguous block, which
numpy views without a copy. `datasets.Dataset.from_file` opens this stream format, too. A folder of
shards with its manifest is a `ShardSet`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpt2zh.config.errors import UserError
from gpt2zh.data.arrow import arrow_column
from gpt2zh.data.batch import check_ids
from gpt2zh.data.manifest import FORMAT_VERSION, Manifest, ShardEntry, read_manifest
from gpt2zh.data.mapped_file import MappedFile
from gpt2zh.data.rows import Rows, cut
from gpt2zh.files.checksum import check_content, check_size, file_sha256

COLUMN, MASK = "input_ids", "loss_mask"
TRAIN, VALIDATION = "train", "validation"

_NO_SHARD = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError)
_READERS = 4  # files verified at once
_VERSION_KEY = b"gpt2zh.format"
_LENGTH_KEY = b"gpt2zh.row_length"
_TOKENIZER_KEY = b"gpt2zh.tokenizer"


def write_shard(
    path: Path, rows: np.ndarray, *, tokenizer_hash: str, mask: np.ndarray | None = None
) -> ShardEntry:
    """Write rows to a new file, flush it to the disk and describe it.

    Args:
        path: Path of the file.
        rows: Token ids, (rows, row_length), uint16 or uint32, contiguous.
        tokenizer_hash: Hash of the tokenizer that made them.
        mask: 1 for tokens that count in the loss, else 0, (rows, row_length) uint8, contiguous;
            None if all count.

    Raises:
        OSError: The file cannot be written.
    """
    row_length = rows.shape[1]
    columns = {COLUMN: _fixed_size_lists(rows)}
    if mask is not None:
        assert mask.shape == rows.shape and mask.dtype == np.uint8, (mask.shape, mask.dtype)
        columns[MASK] = _fixed_size_lists(mask)
    metadata = {
        _VERSION_KEY: str(FORMAT_VERSION),
        _LENGTH_KEY: str(row_length),
        _TOKENIZER_KEY: tokenizer_hash,
    }
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    schema = pa.schema(fields, metadata=metadata)
    with path.open("wb") as file:
        with pa.ipc.new_stream(file, schema) as writer:
            writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
        file.flush()
        os.fsync(file.fileno())
    return ShardEntry(
        file=path.name, rows=len(rows), bytes=path.stat().st_size, sha256=file_sha256(path)
    )


def _fixed_size_lists(rows: np.ndarray) -> pa.FixedSizeListArray:
    assert rows.ndim == 2 and rows.flags.c_contiguous, (rows.shape, rows.flags)
    return pa.FixedSizeListArray.from_arrays(arrow_column(rows.reshape(-1)), rows.shape[1])


def _view(column: pa.FixedSizeListArray, shape: tuple[int, int]) -> np.ndarray:
    """Return a column as an array without a copy.

    Not by to_numpy, for which pyarrow imports pandas; that takes longer than all the rest.
    """
    values = column.values
    dtype = np.dtype(str(values.type))
    return np.frombuffer(values.buffers()[1], dtype, len(values)).reshape(shape)


class Shard:
    """One memory-mapped file of rows."""

    def __init__(self, path: Path) -> None:
        """Map the file; rows are read from the disk when they are used.

        Raises:
            UserError: The file is not a valid shard.
        """
        self.path = path
        try:
            batches = list(pa.ipc.open_stream(pa.memory_map(str(path))))
            (batch,) = batches
            metadata = batch.schema.metadata
            self.row_length = int(metadata[_LENGTH_KEY])
            self.tokenizer_hash = metadata[_TOKENIZER_KEY].decode()
            shape = len(batch), self.row_length
            self.tokens = _view(batch.column(COLUMN), shape)  # (rows, T)
            has_mask = MASK in batch.schema.names
            self.mask = _view(batch.column(MASK), shape) if has_mask else None  # (rows, T)
        except _NO_SHARD as error:
            raise UserError(
                f"shard {path} cannot be opened ({type(error).__name__}: {error}); it is "
                "truncated, altered or not a shard: copy it again or prepare the shards again"
            ) from error

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.tokens)


class ShardSet:
    """All rows of one split, numbered from 0 across its shards."""

    def __init__(
        self,
        folder: Path,
        split: str,
        shards: list[tuple[MappedFile, Shard]],
        manifest: Manifest,
        row_length: int,
    ) -> None:
        """Join shards; use `open`, which compares them with the manifest."""
        self.folder = folder
        self.split = split
        self.shards = [shard for _, shard in shards]
        self.manifest = manifest
        self.row_length = row_length
        pad = manifest.tokenizer.pad_id
        parts = self._cut([shard.tokens for shard in self.shards], pad=pad)
        files = [file for (file, _), part in zip(shards, parts, strict=True) for _ in part]
        self._rows = Rows(_joined(parts), row_length=row_length, files=files)

    @classmethod
    def open(cls, folder: Path, split: str = TRAIN, *, row_length: int | None = None) -> ShardSet:
        """Map all shards of a split.

        Args:
            folder: The shards and their manifest.
            split: Name of the split.
            row_length: Tokens of a row; None for that of the preparation. With full packing any
                length is possible: the stream of tokens in each shard is cut again, nothing is
                lost, and padding fills the last row of a shard.

        Raises:
            UserError: A file is missing, has a wrong size or does not agree with the manifest; or
                its rows cannot be cut to another length.
        """
        manifest = read_manifest(folder)
        if split not in manifest.splits:
            raise UserError(
                f"{folder} has no split '{split}'; it has: {', '.join(manifest.splits)}"
            )
        row_length = row_length or manifest.row_length
        if row_length != manifest.row_length and manifest.packing != "full":
            raise UserError(
                f"the rows of {folder} have {manifest.row_length} tokens and, packed by "
                f"{manifest.packing}, cannot be cut to {row_length}; use model.context "
                f"{manifest.row_length}, or prepare with --row-length {row_length} or "
                "--packing full"
            )
        shards = []
        for entry in manifest.splits[split].shards:
            file = MappedFile(folder, entry)
            check_size(folder, entry, kind="shard")
            shard = Shard(folder / entry.file)
            found = (shard.rows, shard.row_length, shard.tokenizer_hash)
            said = (entry.rows, manifest.row_length, manifest.tokenizer.hash)
            if found != said:
                raise UserError(
                    f"shard {shard.path} holds {_format_content(*found)}, but the manifest says "
                    f"{_format_content(*said)}; it belongs to another folder: copy the right one"
                )
            shards.append((file, shard))
        return cls(folder, split, shards, manifest, row_length)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows.rows

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        """The rows in order, (rows, T) each; nearly all are views of the files."""
        return self._rows.blocks

    @property
    def files(self) -> tuple[MappedFile | None, ...]:
        """The file of each of `blocks`."""
        return self._rows.files

    @property
    def masks(self) -> list[np.ndarray] | None:
        """The loss masks of `blocks`, (rows, T) uint8 each; None if all tokens count."""
        if all(shard.mask is None for shard in self.shards):
            return None
        ones = np.ones(1, np.uint8)
        columns = [
            np.broadcast_to(ones, shard.tokens.shape) if shard.mask is None else shard.mask
            for shard in self.shards
        ]
        return _joined(self._cut(columns, pad=0))

    @property
    def tokens(self) -> int:
        """Tokens of all rows without padding."""
        size = sum(shard.tokens.size for shard in self.shards)
        return size - self.manifest.splits[self.split].padding

    @property
    def fingerprint(self) -> str:
        """Hash of everything that defines the rows; the manifest's unless the length differs."""
        manifest = self.manifest
        if self.row_length == manifest.row_length:
            return manifest.fingerprint
        return hashlib.sha256(f"{manifest.fingerprint} {self.row_length}".encode()).hexdigest()

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows with these numbers, in the given order.

        Args:
            indices: Row numbers, (n,), each from 0 to `rows` - 1.

        Returns:
            A new array of token ids, (n, T).
        """
        return self._rows.gather(indices)

    def verify(self) -> None:
        """Read every file of the split and compare its sha256 with the manifest's.

        Raises:
            UserError: A file differs from what was written, or holds ids that no token has.
        """
        entries = self.manifest.splits[self.split].shards
        with ThreadPoolExecutor(_READERS) as pool:  # hashing lets other threads run
            check = partial(check_content, self.folder, kind="shard")
            list(pool.map(check, entries))
        for shard in self.shards:
            check_ids(shard.tokens, self.manifest.tokenizer.vocab_size, f"the rows of {shard.path}")

    def _cut(self, columns: Sequence[np.ndarray], *, pad: int) -> list[list[np.ndarray]]:
        """Return the blocks of each shard: a column, cut to `row_length`; `pad` fills the rest."""
        if self.row_length == self.manifest.row_length:
            return [[column] for column in columns]
        entries = self.manifest.splits[self.split].shards
        return [
            cut(column.reshape(-1), self.row_length, used=column.size - entry.padding, pad_id=pad)
            for column, entry in zip(columns, entries, strict=True)
        ]


def _joined(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [block for part in parts for block in part]


def _format_content(rows: int, row_length: int, tokenizer_hash: str) -> str:
    return f"{rows} rows of {row_length} tokens of tokenizer {tokenizer_hash[:12]}"
