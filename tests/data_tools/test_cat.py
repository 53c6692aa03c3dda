"""`cat`: a row as text, with file and line of each document in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from verses import prepare_verses, texts_by_line, verses

from gpt2zh.data.manifest import read_manifest
from gpt2zh.data.shard import ShardSet

from .conftest import Command

HEAD = re.compile(r"^(\d+)-(\d+) +(\S+) line (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in several units, each with several shard files."""
    return prepare_verses(tmp_path_factory.mktemp("cat"))


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Return a copy of the shards that may be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def test_a_row_is_shown_with_places_and_what_goes_on(
    shards: Path, command: Command, capsys
) -> None:
    manifest = read_manifest(shards)
    for row in range(12):
        assert command("cat", shards, "--row", row) == 0
    told = capsys.readouterr().out
    assert (
        f"row 11 of {manifest.splits['train'].rows} (train), row 1 of train-00000-001.arrow" in told
    )
    assert "(tokens 0 to " in told and "; goes on to row " in told
    assert re.search(r"tokens (\d+) to \d+ of \d+ of the document; continues from row \d+", told)
    assert len(HEAD.findall(told)) > 12 and "\n| 1。从前有座山" in told


def test_the_texts_shown_are_those_of_the_file(shards: Path, command: Command, capsys) -> None:
    assert command("cat", shards, "--row", 0) == 0
    told = capsys.readouterr().out
    begin, end, path, line = HEAD.search(told).groups()  # type: ignore[union-attr]
    text = texts_by_line(Path(path))[int(line)]
    shown = told.split("\n| ", 1)[1].split("\n\n")[0].replace("\n| ", "\n").rstrip("\n")
    assert begin == "0" and int(end) <= 15 and text.startswith(shown.rstrip("\ufffd")) and shown


def test_ids_are_shown_when_asked_for(shards: Path, command: Command, capsys) -> None:
    assert command("cat", shards, "--row", 3, "--split", "validation", "--ids") == 0
    told = capsys.readouterr().out
    shown = [
        int(word) for line in re.findall(r"^[\d ]+$", told, re.MULTILINE) for word in line.split()
    ]
    (ids,) = ShardSet.open(shards, "validation").gather(np.array([3]))
    assert shown == ids[: len(shown)].tolist() and len(shown) + padding_in(told) == 16


def padding_in(told: str) -> int:
    spans = re.findall(r"^(\d+)-(\d+) +padding$", told, re.MULTILINE)
    return sum(int(end) - int(begin) + 1 for begin, end in spans)


def test_padding_is_named(shards: Path, command: Command, capsys) -> None:
    row = -1
    for shard in read_manifest(shards).splits["train"].shards:
        row += shard.rows
        if shard.padding:
            break
    assert command("cat", shards, "--row", row) == 0
    assert padding_in(capsys.readouterr().out) == shard.padding > 0


def test_a_row_that_was_appended_names_its_file(shards: Path, command: Command, capsys) -> None:
    last = read_manifest(shards).splits["train"].rows - 1
    assert command("cat", shards, "--row", last) == 0
    assert "in/z.csv line " in capsys.readouterr().out


def test_a_row_of_zero_nlp_is_one_chunk_of_one_document(
    write_csv, command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    path = write_csv("in/one.csv", ["短", *verses(40, 1)], lineterminator="\n")
    out = tmp_path / "out"
    options = ("--row-length", 16, "--packing", "zero_nlp", "--tokenizer", bert_tokenizer)
    options += ("--validation-fraction", 0.2, "--workers", 1, "--shard-rows", 10)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    capsys.readouterr()
    assert command("cat", out, "--row", 0) == 0
    told = capsys.readouterr().out
    assert "1-14 " in told and "(tokens 0 to 13 of " in told


def test_a_part_of_a_novel_is_called_a_part(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path = write_csv("in/one.csv", ["".join(verses(60, 1))])
    out = tmp_path / "out"
    options = ("--row-length", 16, "--validation-fraction", 0.3, "--workers", 1)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    capsys.readouterr()
    assert command("cat", out, "--row", 0, "--split", "validation") == 0
    shown = capsys.readouterr().out
    assert "(a part of the document; others are in the other split" in shown
    assert " of the document)" not in shown
    for row in range(read_manifest(out).splits["train"].rows):
        assert command("cat", out, "--row", row) == 0
    shown = capsys.readouterr().out
    assert re.search(r"other split; tokens 0 to \d+ of \d+ of the part", shown)


def test_a_document_that_was_not_cut_is_not_called_a_part(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    """It is training text as a whole, since it nearly equals another one."""
    signs = np.random.default_rng(0).integers(0x4E00, 0x9FA5, (2, 300))
    text, novel = ("".join(map(chr, row)) for row in signs)
    path = write_csv("in/one.csv", [text, text + "。", novel], lineterminator="\n")
    out = tmp_path / "out"
    options = ("--row-length", 16, "--validation-fraction", 0.01, "--workers", 1)
    options += ("--near-duplicates", "validation")
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    assert read_manifest(out).split_rule.block_tokens
    capsys.readouterr()
    assert command("cat", out, "--row", 0) == 0
    assert re.search(r"line 2\n\(tokens 0 to 15 of \d+ of the document;", capsys.readouterr().out)


@pytest.mark.parametrize("row", [-1, 10**6])
def test_a_row_that_is_not_there_is_refused(
    shards: Path, command: Command, capsys, row: int
) -> None:
    rows = read_manifest(shards).splits["train"].rows
    assert command("cat", shards, "--row", row) == 2
    told = capsys.readouterr().err
    assert f"--row {row} is not a row of the train split, which has {rows}" in told
    assert f"use a number from 0 to {rows - 1}" in told


def test_an_empty_split_says_where_rows_are(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path = write_csv("in/one.csv", verses(5, 1))
    options = ("--row-length", 16, "--validation-fraction", 0, "--workers", 1)
    assert command("prepare", "--input", path, "--output", tmp_path / "out", *options) == 0
    assert command("cat", tmp_path / "out", "--row", 0, "--split", "validation") == 2
    assert "which has 0 rows; use --split train" in capsys.readouterr().err


def test_a_damaged_table_is_refused(copy: Path, command: Command, capsys) -> None:
    path = copy / "documents-00000.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    assert command("cat", copy, "--row", 0) == 2
    assert f"table of documents {path} cannot be read" in capsys.readouterr().err
    path.write_bytes(b"")
    assert command("cat", copy, "--row", 0) == 2
    assert f"table of documents {path} is truncated: it has 0 bytes" in capsys.readouterr().err
    path.unlink()
    assert command("cat", copy, "--row", 0) == 2
    assert f"table of documents {path} is missing" in capsys.readouterr().err


def test_a_truncated_shard_is_refused(copy: Path, command: Command, capsys) -> None:
    path = copy / "train-00000-000.arrow"
    path.write_bytes(path.read_bytes()[:100])
    assert command("cat", copy, "--row", 0) == 2
    assert f"shard {path} is truncated: it has 100 bytes" in capsys.readouterr().err


def test_control_characters_in_texts_do_no_harm(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path = write_csv("in/one.csv", ["红\x1b[31m字\u202e反\n第二行"])
    options = ("--row-length", 64, "--validation-fraction", 0, "--workers", 1)
    assert command("prepare", "--input", path, "--output", tmp_path / "out", *options) == 0
    capsys.readouterr()
    assert command("cat", tmp_path / "out", "--row", 0) == 0
    told = capsys.readouterr().out
    assert "| 红\\u001b[31m字\\u202e反\n| 第二行\n" in told and "\x1b" not in told


def test_near_copies_that_were_dropped_for_a_document_are_shown(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    text = "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9FA5, 200)))
    write_csv("in/a.csv", ["短", text, text[:-1] + "。"])
    write_csv("in/b.csv", [text + sign for sign in "，！？；：。、…—·（）"])
    options = ("--near-duplicates", "drop", "--validation-fraction", 0, "--workers", 1)
    assert (
        command("prepare", "--input", tmp_path / "in", "--output", tmp_path / "out", *options) == 0
    )
    capsys.readouterr()
    assert command("cat", tmp_path / "out", "--row", 0) == 0
    shown = capsys.readouterr().out
    assert f"(near copy dropped: {tmp_path}/in/b.csv line 2, similarity 0.99" in shown
    assert shown.count("near copy dropped") == 10 and "(3 more near copies dropped)" in shown
