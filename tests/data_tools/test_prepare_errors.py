"""What `prepare` refuses: exit code 2, a message with the cure, and nothing half written."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.prepare import resume
from data_tools.prepare import run as prepare_run

from .conftest import Command


@pytest.fixture
def refused(command: Command, tmp_path: Path, capsys):
    """Return a function that runs `prepare`, expects a refusal, and returns the message."""

    def run(*arguments: object, output: Path | None = None) -> str:
        output = output or tmp_path / "out"
        existed = output.exists()
        ours = [path for path in output.parents if path.is_dir() and path.is_relative_to(tmp_path)]
        parent = {path: set(os.listdir(path)) for path in ours}
        assert command("prepare", "--output", output, *arguments) == 2
        assert output.exists() == existed
        assert all(set(os.listdir(path)) == names for path, names in parent.items())
        told = capsys.readouterr()
        assert told.err.startswith("error: ") and "Traceback" not in told.err
        return told.err

    return run


def test_an_encoding_that_is_not_read_names_those_that_are(refused) -> None:
    told = refused("--input", "a.txt", "--encoding", "big5")
    assert "--encoding big5 is not known; known are auto, utf-8, utf-16, gb18030" in told
    assert "iconv -f BIG5 -t UTF-8" in told


def test_no_file_matches(refused, tmp_path: Path) -> None:
    assert "no file matches" in refused("--input", tmp_path / "none/**/*.csv")


def test_no_content_column_in_the_last_of_many_files(
    refused, write_csv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "make_plan", None)  # it is found before the work begins
    write_csv("in/a.csv")
    last = write_csv("in/b.csv", header=("id", "text"))
    message = refused("--input", tmp_path / "in")
    assert f"{last} has no column 'content'; its columns are: id, text" in message


def test_no_document_in_the_files(refused, write_csv) -> None:
    path = write_csv("in/a.csv", ["", "  "])
    message = refused("--input", path)
    assert "the corpus is empty: 1 file without a document (2 empty, 0 set aside)" in message


def test_every_row_broken(refused, write_csv) -> None:
    path = write_csv("in/a.csv", [], header=("content",))
    path.write_bytes(b"content\n\xff\n\xfe\n")
    message = refused("--input", path)
    assert "2 set aside: 2 bad UTF-8" in message
    assert f"bad UTF-8 (2): {path}:2: byte 0xFF at character 0" in message
    assert "correct these bytes, or convert the file to UTF-8" in message


def test_existing_output_without_overwrite(refused, write_csv, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    assert "already exists" in refused("--input", write_csv("in/a.csv"))


def test_overwrite_of_a_folder_that_holds_no_shards(refused, write_csv, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    message = refused("--input", write_csv("in/a.csv"), "--overwrite")
    assert "is not a folder of shards" in message
    assert (tmp_path / "out/thesis.txt").read_text() == "mine"


def test_output_that_is_a_file(refused, write_csv, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert "is a file" in refused("--input", write_csv("in/a.csv"), "--overwrite")


def test_output_that_cannot_be_written(refused, write_csv, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = refused("--input", write_csv("in/a.csv"), output=tmp_path / "file/out")
    assert "cannot write" in message and "choose an output folder" in message


def test_zero_nlp_packing_without_cls_and_sep(refused, write_csv) -> None:
    message = refused("--input", write_csv("in/a.csv"), "--packing", "zero_nlp")
    assert "tokenizer builtin does not have" in message and "bert-base-chinese" in message


def test_full_disk_is_foreseen(refused, write_csv, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    assert "0.00 GB free" in refused("--input", write_csv("in/a.csv", ["很多字" * 100]))


def test_append_with_overwrite(refused, write_csv) -> None:
    message = refused("--input", write_csv("in/a.csv"), "--append", "--overwrite")
    assert "--append and --overwrite exclude each other" in message


def test_output_that_appears_meanwhile_is_not_replaced(
    write_csv, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "out"

    def appear(*arguments: object) -> None:
        out.mkdir()
        (out / "thesis.txt").write_text("mine")

    monkeypatch.setattr(prepare_run.summary, "check_not_empty", appear)
    assert command("prepare", "--input", write_csv("in/a.csv"), "--output", out) == 2
    assert "appeared while" in capsys.readouterr().err
    assert (out / "thesis.txt").read_text() == "mine"
    out.rename(tmp_path / "moved")
    assert command("prepare", "--input", tmp_path / "in", "--output", out) == 0
    assert (out / "manifest.json").is_file()


def test_shards_of_something_else_are_replaced_only_with_overwrite(
    refused, command: Command, write_csv, tmp_path: Path
) -> None:
    first, other = write_csv("in/a.csv"), write_csv("in/b.csv", ["别的"])
    assert command("prepare", "--input", first, "--output", tmp_path / "out") == 0
    message = refused("--input", other)
    assert "already exists" in message and "--overwrite" in message and "--append" in message
    line = ("prepare", "--input", other, "--output", tmp_path / "out", "--overwrite")
    assert command(*line, "--validation-fraction", 0) == 0


def test_an_unfinished_plan_that_cannot_be_read_is_refused_until_restart(
    refused, command: Command, write_csv, tmp_path: Path
) -> None:
    path, out = write_csv("in/a.csv"), tmp_path / "out"
    assert command("prepare", "--input", path, "--output", out, "--part", 1, "--parts", 2) == 0
    plan = tmp_path / "out.partial/work/plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"format": 1}))
    message = refused("--input", path)
    assert str(plan) in message and "--restart to start again" in message
    assert command("prepare", "--input", path, "--output", out, "--restart") == 0


def test_unknown_tokenizer(refused, write_csv) -> None:
    message = refused("--input", write_csv("in/a.csv"), "--tokenizer", "nowhere")
    assert "no tokenizer 'nowhere'" in message


def test_file_without_rows_is_no_fault(command: Command, tmp_path: Path, write_csv) -> None:
    schema = pa.schema([("content", pa.string())])
    write_csv("in/a.csv")
    pq.ParquetWriter(tmp_path / "in/empty.parquet", schema).close()
    assert command("prepare", "--input", tmp_path / "in", "--output", tmp_path / "out") == 0
