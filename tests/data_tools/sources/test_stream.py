"""Compressed and transcoded files give what the plain file gives; damage is named, not thrown."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from data_tools.sources.find import inspect
from data_tools.sources.options import InputConfig
from data_tools.sources.read import SliceReader, slice_digest
from data_tools.sources.source import Slice
from gpt2zh.config.errors import UserError

TEXTS = ["一，二", '他说："好"。\n第二行', "𠀀 end", "", "\u3000空格", "x" * 500] * 40


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"": bytes, ".gz": lambda data: gzip.compress(data, 1), ".zst": zstd}

CONTENT = {
    "a.csv": "id,content\n" + "".join('1,"' + text.replace('"', '""') + '"\n' for text in TEXTS),
    "a.jsonl": "".join(json.dumps({"content": text}, ensure_ascii=False) + "\n" for text in TEXTS),
    "a.json": json.dumps(TEXTS, ensure_ascii=False, indent=1),
    "a.txt": "\n".join(text.replace("\n", "") or "-" for text in TEXTS),
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16-le", "utf-16"])
@pytest.mark.parametrize("chunk", [100, 4_000_000])
def test_every_format_in_every_encoding_and_compression(
    read: Callable, set_limits: Callable, name: str, suffix: str, encoding: str, chunk: int
) -> None:
    set_limits(chunk=chunk)
    data = COMPRESS[suffix](CONTENT[name].encode(encoding))
    reading = read(name + suffix, data, text_documents="line")
    wanted = [text.replace("\n", "") or "-" for text in TEXTS] if name == "a.txt" else TEXTS
    assert reading.texts == wanted and not reading.aside


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_several_compressed_members_are_one_file(read: Callable, suffix: str) -> None:
    parts = ["content\n一\n", "二\n三", "\n"]
    data = b"".join(COMPRESS[suffix](part.encode()) for part in parts)
    assert read("a.csv" + suffix, data).texts == ["一", "二", "三"]


ROWS = [f"{number * 7919}字，{number * 104729}" for number in range(60_000)]
PLAIN = {
    "a.csv": "content\n" + "".join(f'"{row}\n{row}"\n' for row in ROWS),
    "a.jsonl": "".join(f'{{"content": "{row}"}}\n' for row in ROWS),
    "a.json": "[" + ",\n".join(f'{{"content": "{row}"}}' for row in ROWS) + "]\n",
    "a.txt": "".join(row + "\n" for row in ROWS),
}
DAMAGE = {
    "cut off": lambda data: data[: len(data) * 3 // 4],
    "changed": lambda data: data[: len(data) * 3 // 4] + b"\xff" * 99 + data[len(data) * 3 // 4 :],
    "wrong checksum": lambda data: data[:-8] + b"\xff" * 4 + data[-4:],
}


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    ("suffix", "damage"), [(".gz", kind) for kind in DAMAGE] + [(".zst", "cut off")]
)
def test_what_lies_behind_damage_is_set_aside(
    read: Callable, name: str, suffix: str, damage: str, encoding: str
) -> None:
    data = DAMAGE[damage](COMPRESS[suffix](PLAIN[name].encode(encoding)))
    reading = read(name + suffix, data, text_documents="line", encoding=encoding)
    whole = [f"{row}\n{row}" for row in ROWS] if name == "a.csv" else ROWS
    *others, fault = reading.aside
    if damage == "cut off":
        assert not others and 0 < len(reading.texts) < len(ROWS)
        assert reading.texts == whole[: len(reading.texts)]
        if name != "a.csv":  # whose rows are of two lines
            assert fault.line == len(reading.texts) + 1  # the rest is one record
    assert fault.reason == "damaged file" and fault.line > reading.documents[-1][0]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(ROWS, ensure_ascii=False)),
        ("a.txt", "".join(ROWS)),
        ("a.txt", "\n".join(ROWS)),
    ],
)
def test_a_part_of_a_document_is_not_taken_for_the_whole(
    read: Callable, suffix: str, name: str, text: str
) -> None:
    data = DAMAGE["cut off"](COMPRESS[suffix](text.encode()))
    reading = read(name + suffix, data, text_documents="block")
    assert set(reading.texts) < set(ROWS)
    assert reading.aside[-1].reason == "damaged file"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["early", "not compressed"])
def test_damage_at_the_beginning_is_named_before_the_work(
    read: Callable, suffix: str, damage: str
) -> None:
    data = COMPRESS[suffix](PLAIN["a.csv"].encode())[:20_000]
    if damage == "not compressed":
        data = b"content\n\xe5\xad\x97\n" * 100
    with pytest.raises(UserError, match=rf"a\.csv\{suffix} cannot be decompressed: it is damaged"):
        read("a.csv" + suffix, data, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_large_compressed_file_is_read_in_little_memory(
    read: Callable, suffix: str, name: str, tmp_path: Path
) -> None:
    row = "一行文字" * 250
    rows = [row] * 15_000  # 45 MB
    text = json.dumps(rows, ensure_ascii=False)
    text = text if name == "a.json" else "content\n" + "\n".join(rows)
    path = tmp_path / (name + suffix)
    path.write_bytes(COMPRESS[suffix](text.encode()))
    config = InputConfig(input=())
    source = inspect(path, config)
    tracemalloc.start()
    try:
        reader = SliceReader(source, Slice(0, source.bytes, 1), config)
        documents = sum(len(block) for block in reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert documents == 15_000 and reader.bytes_read == len(text.encode()) > 45_000_000
    assert peak < 40_000_000


def test_digest_is_that_of_the_raw_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"content\n1\n2\n")
    source = inspect(path, InputConfig(input=()))
    assert slice_digest(source, Slice(0, 12, 1)) == xxhash.xxh3_128_hexdigest(path.read_bytes())
    assert slice_digest(source, Slice(8, 10, 2)) == xxhash.xxh3_128_hexdigest(b"1\n")


def test_file_that_became_shorter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"content\n1\n2\n")
    config = InputConfig(input=())
    source = inspect(path, config)
    path.write_bytes(b"content\n1\n")
    with pytest.raises(UserError, match=r"a\.csv became shorter while it was read"):
        list(SliceReader(source, Slice(0, 12, 1), config))
    with pytest.raises(UserError, match="became shorter"):
        slice_digest(source, Slice(0, 12, 1))
