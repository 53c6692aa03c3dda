"""Parquet: one column of text, row group by row group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.sources import source
from data_tools.sources.cut import cut
from data_tools.sources.find import inspect
from data_tools.sources.options import InputConfig
from gpt2zh.config.errors import UserError

TEXTS = ["一二", None, "", "a\nb", "😀", "long " * 50, "一二", "end"]


def parquet_of(folder: Path, raw: list[bytes]) -> Path:
    """Write what claims to be text."""
    buffers = pa.array(raw, pa.binary()).buffers()
    text = pa.Array.from_buffers(pa.string(), len(raw), buffers)
    path = folder / "a.parquet"
    pq.write_table(pa.table({"content": text}), path)
    return path


def table(kind: Any, texts: list = TEXTS) -> pa.Table:
    values = pa.array(texts, pa.string()).cast(kind)
    return pa.table({"id": pa.array(range(len(texts))), "content": values})


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("documents", [1, 2, 0])
def test_values_are_documents_and_null_an_empty_one(
    read: Callable, set_limits: Callable, tmp_path: Path, kind: Any, rows: int, documents: int
) -> None:
    set_limits(documents=documents)
    path = tmp_path / "a.parquet"
    pq.write_table(table(kind), path, row_group_size=rows)
    wanted = [(n, text or "") for n, text in enumerate(TEXTS, 1)]
    for size in (1, 100, 10**9):
        reading = read("", path, size=size)
        assert reading.documents == wanted
        assert sum(reading.sizes) == sum(len((text or "").encode()) for text in TEXTS)


def test_a_column_whose_name_looks_like_the_wanted_one_is_read(
    read: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1, 2], "content\u200b ": ["一", "二"]}), path)
    for size in (1, 10**9):
        assert read("", path, size=size).texts == ["一", "二"]


def damage_group(path: Path, group: int) -> None:
    """Overwrite the texts of a row group."""
    at = pq.ParquetFile(path).metadata.row_group(group).column(1)
    data = bytearray(path.read_bytes())
    begin = at.data_page_offset + 100
    data[begin : at.data_page_offset + at.total_compressed_size] = bytes(
        at.total_compressed_size - 100
    )
    path.write_bytes(data)


@pytest.mark.parametrize("size", [1, 10**9])
@pytest.mark.parametrize("groups", [(0,), (1,), (3,), (1, 2), (0, 3)])
@pytest.mark.parametrize("documents", [150, 0])
def test_a_damaged_row_group_is_set_aside_and_the_others_are_read(
    read: Callable, set_limits: Callable, tmp_path: Path, size: int, groups: tuple, documents: int
) -> None:
    set_limits(documents=documents)
    texts = [f"{n * 7919}字" * 9 for n in range(400)]
    path = tmp_path / "a.parquet"
    pq.write_table(
        table(pa.string(), texts), path, row_group_size=100, compression="zstd",
        use_dictionary=False,
    )  # fmt: skip
    for group in groups:
        damage_group(path, group)
    reading = read("", path, size=size)
    whole = [n for n in range(400) if n // 100 not in groups]
    assert reading.documents == [(n + 1, texts[n]) for n in whole]
    assert reading.faults == [(100 * group + 1, "damaged file", 0) for group in groups]
    first, last = 100 * groups[0] + 1, 100 * groups[0] + 100
    assert reading.aside[0].detail.startswith(f"rows {first} to {last}: ")


def test_slices_are_row_groups_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string(), ["字" * 1000 + str(n) for n in range(64)]), path,
                   row_group_size=4, use_dictionary=False)  # fmt: skip
    config = InputConfig(input=())
    found = inspect(path, config)
    parts = cut(found, config, 30_000)
    lines = [part.line for part in parts]
    assert lines == sorted(set(lines)) and all(line % 4 == 1 for line in lines)
    assert 4 <= len(lines) <= 8
    assert parts[0].begin == 0 and parts[-1].end == path.stat().st_size
    assert len(cut(found, config, 10**9)) == 1


def test_nulls_between_texts_of_many_batches(read: Callable, tmp_path: Path) -> None:
    texts = [None if n % 3 else f"第{n}个" for n in range(50_000)]
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string(), texts), path, row_group_size=20_001)
    reading = read("", path, size=1)
    assert reading.texts == [text or "" for text in texts]


def test_invalid_text_is_set_aside(read: Callable, set_limits: Callable, tmp_path: Path) -> None:
    set_limits(longest=100)
    raw = [b"good", b"\xff", b"\xe4\xb8", b"\x80", b"a\0", b"x" * 101, b"x" * 100]
    reading = read("", parquet_of(tmp_path, raw))
    assert reading.documents == [(1, "good"), (7, "x" * 100)]
    assert sorted(reading.faults) == [
        (2, "bad UTF-8", 1),
        (3, "bad UTF-8", 2),
        (4, "bad UTF-8", 1),
        (5, "NUL character", 2),
        (6, "too long", 101),
    ]


def test_texts_that_are_valid_only_together_are_set_aside(read: Callable, tmp_path: Path) -> None:
    halves = ["一".encode()[:2], "一".encode()[2:]]
    reading = read("", parquet_of(tmp_path, [b"good", *halves, b"good"]))
    assert reading.documents == [(1, "good"), (4, "good")]
    assert reading.faults == [(2, "bad UTF-8", 2), (3, "bad UTF-8", 1)]


def test_batches_follow_the_size_of_the_texts(
    read: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 10_000)
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string(), [f"{n:01000}" for n in range(100)]), path)
    assert 9 <= read("", path).blocks <= 12


@pytest.mark.parametrize("size", [1, 10**9])
def test_row_groups_that_are_not_in_the_order_of_their_bytes_are_all_read(
    read: Callable, tmp_path: Path, size: int
) -> None:
    path, footer = tmp_path / "a.parquet", tmp_path / "footer"
    pq.write_table(table(pa.string()), path, row_group_size=3)
    meta = pq.read_metadata(path)
    meta.append_row_groups(pq.read_metadata(path))  # which begin before those that are there
    meta.write_metadata_file(footer)
    data = path.read_bytes()
    path.write_bytes(data[: -8 - int.from_bytes(data[-8:-4], "little")] + footer.read_bytes()[4:])
    wanted = [text or "" for text in pq.read_table(path)["content"].to_pylist()]
    assert len(wanted) == 2 * len(TEXTS)
    assert read("", path, size=size).texts == wanted


@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("size", [1, 10**9])
def test_row_groups_without_rows_are_passed_over(
    read: Callable, tmp_path: Path, size: int, use_dictionary: bool
) -> None:
    path = tmp_path / "a.parquet"
    full = table(pa.string())
    empty = full.slice(0, 0)
    with pq.ParquetWriter(path, full.schema, use_dictionary=use_dictionary) as writer:
        for part in (empty, full, empty, empty, full, empty):
            writer.write_table(part) if len(part) else writer.write(part)
    assert pq.read_metadata(path).num_row_groups == 6
    assert read("", path, size=size).texts == [text or "" for text in TEXTS] * 2


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [("auto", ["中文"]), ("utf-8", ["Ŀ¼", "中文"]), ("gb18030", ["目录", "中文"])],
)
def test_the_encoding_that_the_user_chose_decides_what_is_unclear(
    read: Callable, tmp_path: Path, encoding: str, texts: list[str]
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string(), ["Ŀ¼", "中文"]), path)
    reading = read("", path, encoding=encoding)
    assert reading.texts == texts
    assert [one.reason for one in reading.aside] == ["unclear encoding"] * (2 - len(texts))


def test_file_without_rows_holds_nothing(read: Callable, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string(), []), path)
    assert read("", path).documents == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"contents": ["x"]}, r"no column 'content'.*--content-column contents"),
        ({"content": [1]}, r"of type int64, which is not text"),
        ({"content": [["x"]]}, r"of type list"),
        ({"content": [b"x"]}, r"of type binary"),
        ({"content": [None]}, r"holds no value at all"),
    ],
)
def test_column_that_cannot_serve_is_refused(
    read: Callable, tmp_path: Path, columns: dict, message: str
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UserError, match=message):
        read("", path)


@pytest.mark.parametrize("damage", ["not parquet", "cut off", "empty"])
def test_damaged_file_is_named(read: Callable, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string()), path)
    data = path.read_bytes()
    path.write_bytes({"not parquet": b"x" * 100, "cut off": data[:-10], "empty": b""}[damage])
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet"):
        read("", path)


def test_damage_within_is_found_while_reading(read: Callable, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(pa.string()), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    data[at : at + 60] = b"\xff" * 60
    path.write_bytes(data)
    (fault,) = read("", path).aside
    assert (fault.line, fault.reason, fault.size) == (1, "damaged file", 0)
    assert fault.detail.startswith("rows 1 to 8: ")
