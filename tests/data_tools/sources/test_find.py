"""Which files are read, and what is known of each before the work begins."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.sources.find import find_files, inspect, inspect_all
from data_tools.sources.options import InputConfig
from gpt2zh.config.errors import UserError

OPTIONS = InputConfig(input=())


def test_globs_folders_and_files_give_each_file_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["b.csv", "a.jsonl", "deep/er/c.CSV.gz", "deep/d.txt.zst", "deep/e.parquet", "f.json"]
    for name in [*names, "deep/readme.md", "deep/g.csv.xz", "deep/h.parquet.gz"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content\n")
    monkeypatch.chdir(tmp_path)
    found = find_files(["**/*.csv", str(tmp_path), "deep", "b.csv"])
    assert [path.resolve().relative_to(tmp_path).as_posix() for path in found] == sorted(
        path.resolve().relative_to(tmp_path).as_posix() for path in found
    ) or len(found) == 6
    assert sorted(path.name for path in found) == sorted(Path(name).name for name in names)
    assert [path.as_posix() for path in find_files(["*.csv", "deep/*.txt.zst", "*.jsonl"])] == [
        "a.jsonl",
        "b.csv",
        "deep/d.txt.zst",
    ]


@pytest.mark.parametrize("pattern", ["nothing/**/*.csv", "gone.csv", "."])
def test_input_without_a_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.md").write_text("")
    with pytest.raises(UserError, match=r"no file matches .*\.parquet.*quoted glob"):
        find_files([pattern])


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.csv", b"content\n", ("csv", "", "utf-8")),
        ("a.CSV", "\ufeffcontent\n".encode(), ("csv", "", "utf-8-sig")),
        ("a.csv.gz", gzip.compress(b"content\n", mtime=0), ("csv", "gzip", "utf-8")),
        ("a.tsv", b"id\tcontent\n", ("csv", "", "utf-8")),
        ("a.csv", gzip.compress(b"content\n", mtime=0), ("csv", "gzip", "utf-8")),
        ("a.csv", "\ufeffcontent\n".encode("utf-16-be"), ("csv", "", "utf-16-be")),
        ("a.ndjson", b'"x"\n', ("jsonl", "", "utf-8")),
        ("a.json", b' \n["x"]', ("json", "", "utf-8")),
        ("a.json", b'"x"\n"y"', ("jsonl", "", "utf-8")),
        ("b.json", '\ufeff["一"]'.encode("utf-16-le"), ("json", "", "utf-16-le")),
        ("v1.2.txt", "一些文字\n".encode("gb18030"), ("text", "", "gb18030")),
    ],
)
def test_kind_of_a_file(tmp_path: Path, name: str, data: bytes, kind: tuple) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = inspect(path, OPTIONS)
    assert (found.format, found.compression, found.encoding) == kind
    assert found.bytes == len(data) and found.mtime_ns == path.stat().st_mtime_ns


def test_file_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("content\n")
    with pytest.raises(UserError, match=r"a\.md has an unknown format; supported are \.csv, "):
        inspect(path, OPTIONS)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.csv: No such file"):
        inspect(tmp_path / "gone.csv", OPTIONS)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text("content\n" if name == "b.csv" else "text\n")
    pq.write_table(pa.table({"content": [1]}), tmp_path / "d.parquet")
    (tmp_path / "e.jsonl").write_text(json.dumps({"text": ""}))
    with pytest.raises(UserError, match=r"4 faults") as caught:
        inspect_all(find_files([str(tmp_path)]), OPTIONS)
    message = str(caught.value)
    assert all(name in message for name in ("a.csv", "c.csv", "d.parquet", "e.jsonl"))
    assert "b.csv" not in message
    (tmp_path / "d.parquet").unlink()
    (tmp_path / "e.jsonl").unlink()
    found = inspect_all(find_files([str(tmp_path / "b.csv")]), OPTIONS)
    assert [source.path.name for source in found] == ["b.csv"]


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"PK\x03\x04", "a.csv is a zip archive"),
        (b"\x00\x05\x16\x07\x00", "a.csv is metadata of macOS without text; delete it"),
        (b"PAR1\x15\x04", "a.csv is a Parquet file; rename it to .parquet"),
    ],
)
def test_a_file_of_another_kind_than_its_name_says_is_refused(
    tmp_path: Path, start: bytes, told: str
) -> None:
    (tmp_path / "a.csv").write_bytes(start + b"\x00" * 100)
    with pytest.raises(UserError, match=told) as caught:
        inspect(tmp_path / "a.csv", OPTIONS)
    assert str(caught.value).isprintable()


def test_what_names_do_not_say_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("id\tcontent\n")
    (tmp_path / "b.tsv").write_text("id\tcontent\n")
    (tmp_path / "c.tsv").write_text("id,content\n")
    (tmp_path / "d.csv").write_text("id\tcontent\n")
    (tmp_path / "e.csv").write_bytes(gzip.compress(b"content\n"))
    (tmp_path / "f.md").write_text("")
    inspect_all(find_files([str(tmp_path)]), OPTIONS)
    left_out, *lines = capsys.readouterr().err.splitlines()
    assert left_out.startswith("left out: 1 .md (")
    assert lines == [
        f"2 files are read with the columns separated by tab, such as {tmp_path}/a.csv",
        f"{tmp_path}/c.tsv is read with the columns separated by comma",
        f"{tmp_path}/e.csv is compressed with gzip, though the name does not say so",
    ]
    inspect_all([tmp_path / "a.csv"], replace(OPTIONS, delimiter="tab"))
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match=r"--delimiter 'ab' is not a valid delimiter"):
        inspect_all([], replace(OPTIONS, delimiter="ab"))
