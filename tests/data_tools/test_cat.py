"""`cat`: a row as text, with file and line of each document in it."""

from __future__ import annotations

import csv
import random
import re
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.cat import find_row, parts_of
from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.data.manifest import read_manifest
from gpt2zh.data.shard import ShardSet
from gpt2zh.text.tokenizer import load_tokenizer

from .conftest import TEXTS, Command

HEAD = re.compile(r"^(\d+)-(\d+) +(\S+) line (\d+)$", re.MULTILINE)


def verses(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [f"{i}。" + rng.choice(TEXTS[:2]) * rng.randrange(1, 12) for i in range(count)]


def write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([["id", "content"], *enumerate(texts)])


def documents_of(path: Path) -> dict[int, str]:
    """Return the documents of a CSV by the line in which their record begins."""
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        begin = 1
        for record in reader:
            found[begin] = record[1]
            begin = reader.line_num + 1
    return found


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two files in several units, each with several shard files; one file appended."""
    folder = tmp_path_factory.mktemp("cat")
    write(folder / "in/one.csv", verses(60, 1))
    write(folder / "in/two.csv", verses(50, 2))
    config = PrepareConfig(
        input=(str(folder / "in"),),
        output=folder / "out",
        row_length=16,
        unit_bytes=3000,
        shard_rows=10,
        validation_fraction=0.2,
        workers=1,
    )
    prepare(config)
    write(folder / "in/z.csv", ["后来的文字。" * 9, *verses(20, 3)])
    prepare(replace(config, append=True))
    return folder / "out"


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Return a copy of the shards that may be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_parts_of_all_rows_are_the_documents_at_the_places_named(
    shards: Path, split: str
) -> None:
    manifest, tokenizer = read_manifest(shards), load_tokenizer(shards / "tokenizer")
    rows = ShardSet.open(shards, split)
    assert len({shard.unit for shard in rows.manifest.splits[split].shards}) > 3
    pieces: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in range(rows.rows):
        (ids,) = rows.gather(np.array([row]))
        place = find_row(manifest, split, row)
        for part in parts_of(shards, manifest, split, place, ids):
            where = (part.path, part.line)
            assert part.first == len(pieces[where])
            assert part.first_row <= row <= part.last_row
            assert (row == part.first_row) == (part.first == 0)
            pieces[where] += ids[part.begin : part.end].tolist()
            assert (row == part.last_row) == (len(pieces[where]) == part.tokens)
    assert len(pieces) == manifest.splits[split].documents
    for (path, line), ids in pieces.items():
        assert ids[-1] == tokenizer.eos_id
        assert tokenizer.decode(ids) == documents_of(Path(path))[line]


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
    text = documents_of(Path(path))[int(line)]
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
    manifest, tokenizer = read_manifest(out), load_tokenizer(out / "tokenizer")
    documents = documents_of(path)
    for split in ("train", "validation"):
        rows = ShardSet.open(out, split)
        for row in range(rows.rows):
            (ids,) = rows.gather(np.array([row]))
            (part,) = parts_of(out, manifest, split, find_row(manifest, split, row), ids)
            whole = tokenizer.encode(documents[part.line])
            assert (part.begin, part.end, part.tokens) == (1, 15, len(whole))
            assert ids[1:15].tolist() == whole[part.first : part.first + 14]
            assert part.first == 14 * (row - part.first_row)
            assert part.last_row - part.first_row + 1 == len(whole) // 14
    capsys.readouterr()
    assert command("cat", out, "--row", 0) == 0
    told = capsys.readouterr().out
    assert "1-14 " in told and "(tokens 0 to 13 of " in told


@pytest.mark.parametrize("row", [-1, 10**6])
def test_a_row_that_is_not_there_is_refused(
    shards: Path, command: Command, capsys, row: int
) -> None:
    rows = read_manifest(shards).splits["train"].rows
    assert command("cat", shards, "--row", row) == 2
    told = capsys.readouterr().err
    assert f"--row {row} is no row of the train split, which has {rows}" in told
    assert f"give a number from 0 to {rows - 1}" in told


def test_an_empty_split_says_where_rows_are(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path = write_csv("in/one.csv", verses(5, 1))
    options = ("--row-length", 16, "--validation-fraction", 0, "--workers", 1)
    assert command("prepare", "--input", path, "--output", tmp_path / "out", *options) == 0
    assert command("cat", tmp_path / "out", "--row", 0, "--split", "validation") == 2
    assert "which has 0; give --split train" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("column", "fault"), [("tokens", "does not fit the rows"), ("source", "names source")]
)
def test_a_table_that_does_not_fit_the_row_is_refused(
    copy: Path, command: Command, capsys, monkeypatch: pytest.MonkeyPatch, column: str, fault: str
) -> None:
    path = copy / "documents-00000.parquet"
    table = pq.read_table(path)
    values = table[column].to_numpy().copy()
    values += 1 if column == "tokens" else 99
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), path)
    monkeypatch.setattr("data_tools.cat.check_size", lambda folder, item: None)
    assert command("cat", copy, "--row", 0) == 2
    assert fault in capsys.readouterr().err


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
