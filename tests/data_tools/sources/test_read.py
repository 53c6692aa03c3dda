"""Slices of files of any format, read by one class."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.sources.find import inspect
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader, slice_digest
from data_tools.sources.source import Slice
from gpt2zh.config.errors import UserError


def test_reader_can_be_iterated_again_and_reports_its_position(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"content\n" + b"1\n" * 2_500_000)
    config = InputConfig(input=())
    source = inspect(path, config)
    reader = SliceReader(source, Slice(0, source.bytes, 1), config)
    assert reader.position == reader.records == reader.bytes_read == 0
    first = [(len(block), reader.position) for block in reader]
    assert first == [(len(block), reader.position) for block in reader]
    assert all(documents <= 20_000 for documents, _ in first)
    assert reader.records == 2_500_000
    assert 0 < first[0][1] < source.bytes == first[-1][1]


def test_the_digest_is_known_only_at_the_end(tmp_path: Path, set_limits) -> None:
    set_limits(chunk=10)
    (tmp_path / "a.jsonl").write_bytes(b'"x"\n' * 100)
    pq.write_table(pa.table({"content": ["x"] * 100}), tmp_path / "a.parquet")
    for path in tmp_path.iterdir():
        source = inspect(path, InputConfig(input=()))
        whole = Slice(0, source.bytes, 1)
        reader = SliceReader(source, whole, InputConfig(input=()))
        blocks = iter(reader)
        next(blocks)
        assert reader.digest == ""
        assert list(blocks) or path.suffix == ".parquet"
        assert reader.digest == slice_digest(source, whole)


def test_a_file_without_the_column_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"content\nx\n")
    source = inspect(path, InputConfig(input=()))
    reader = SliceReader(source, Slice(0, 10, 1), InputConfig(input=(), content_column="text"))
    with pytest.raises(UserError, match="no column 'text'"):
        list(reader)
