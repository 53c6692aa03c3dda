"""Rows and the documents in them: file, line and tokens, however the rows are cut."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from verses import prepare_verses, texts_by_line, verses, write

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.errors import UserError
from gpt2zh.data.documents import find_documents
from gpt2zh.data.shard import ShardSet
from gpt2zh.text.tokenizer import load_tokenizer

TABLE = "documents-00000.parquet"
Pieces = dict[tuple[str, int], list[int]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in several units, each with several shard files."""
    return prepare_verses(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of several units as zero_nlp packed them, with documents too short for a row."""
    folder = tmp_path_factory.mktemp("chunks")
    write(folder / "in/one.csv", ["短", *verses(60, 1)])
    signs = sorted({sign for text in ["短", *verses(60, 1)] for sign in text if sign.strip()})
    signs += [f"##{digit}" for digit in range(10)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs]), "utf-8"
    )
    prepare(
        PrepareConfig(
            input=(str(folder / "in"),),
            output=folder / "out",
            tokenizer=str(vocabulary),
            packing="zero_nlp",
            row_length=16,
            unit_bytes=3000,
            shard_rows=10,
            validation_fraction=0.2,
            workers=1,
        )
    )
    return folder / "out"


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Return a copy of the shards that may be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def is_of_several_units(rows: ShardSet) -> bool:
    entries = rows.manifest.splits[rows.split].shards
    units = {entry.unit for entry in entries}
    return len(units) > 3 and (rows.split == "validation" or len(entries) > len(units))


def collect(rows: ShardSet) -> Pieces:
    """Go through all rows, check that parts follow one another, and join those of each document."""
    pieces: Pieces = defaultdict(list)
    for row in range(rows.rows):
        (ids,) = rows.gather(np.array([row]))
        used = margin = int(rows.manifest.packing != "full")
        for part in find_documents(rows, row):
            whole = pieces[part.path, part.line]
            assert part.begin == used < part.end
            assert part.first == len(whole)
            assert part.first_row <= row <= part.last_row
            assert (row == part.first_row) == (part.first == 0)
            whole += ids[part.begin : part.end].tolist()
            rest = part.tokens - len(whole)
            assert (row == part.last_row) == (rest == 0 if not margin else rest < len(ids) - 2)
            used = part.end
        padding = ids[used : len(ids) - margin]
        assert (padding == rows.manifest.tokenizer.pad_id).all()
    return pieces


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(
    "row_length",
    [32, 100, 1000, *(pytest.param(n, marks=pytest.mark.slow) for n in (16, 5, 8, 11, 23))],
)
def test_the_parts_of_all_rows_are_the_documents_at_the_places_named(
    shards: Path, split: str, row_length: int
) -> None:
    rows = ShardSet.open(shards, split, row_length=row_length)
    assert is_of_several_units(rows)
    pieces = collect(rows)
    tokenizer = load_tokenizer(shards / "tokenizer")
    assert len(pieces) == rows.manifest.splits[split].documents
    assert sum(map(len, pieces.values())) == rows.tokens
    for (path, line), ids in pieces.items():
        assert ids[-1] == tokenizer.eos_id
        assert tokenizer.decode(ids) == texts_by_line(Path(path))[line]


def test_a_document_longer_than_a_shard_is_found_in_all_its_rows(tmp_path: Path) -> None:
    write(tmp_path / "in/one.csv", ["".join(verses(40, 4)), "短"])
    prepare(
        PrepareConfig(
            input=(str(tmp_path / "in"),),
            output=tmp_path / "out",
            row_length=16,
            shard_rows=10,
            validation_fraction=0,
            workers=1,
        )
    )
    rows = ShardSet.open(tmp_path / "out", row_length=13)
    assert len(rows.shards) > 3
    longest, short = collect(rows)
    assert (longest[1], rows.rows - 1) == (2, find_documents(rows, rows.rows - 1)[-1].last_row)
    (part,) = find_documents(rows, 20)
    assert (part.line, part.first_row) == (2, 0) and part.last_row >= rows.rows - 2
    assert short[1] > 2


@pytest.mark.parametrize("split", ["train", "validation"])
def test_rows_of_zero_nlp_are_the_whole_chunks_of_documents(chunks: Path, split: str) -> None:
    rows = ShardSet.open(chunks, split)
    assert is_of_several_units(rows)
    pieces = collect(rows)
    account = rows.manifest.splits[split]
    assert len(pieces) == account.documents - account.dropped_documents
    assert sum(map(len, pieces.values())) == account.tokens - account.dropped_tokens
    tokenizer = load_tokenizer(chunks / "tokenizer")
    for (path, line), ids in pieces.items():
        text = texts_by_line(Path(path))[line]
        whole = tokenizer.encode(text)
        assert ids == whole[: len(whole) // 14 * 14]
        shown = "".join(tokenizer.decode(ids).split())
        assert shown and "".join(text.split()).startswith(shown)


def test_a_row_that_is_not_there_is_our_mistake(shards: Path) -> None:
    rows = ShardSet.open(shards, row_length=23)
    for row in (-1, rows.rows):
        with pytest.raises(IndexError, match="outside"):
            find_documents(rows, row)


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("row_length", [16, 23])
@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (Path.unlink, "is missing; copy it here or prepare the shards again"),
        (lambda path: path.write_bytes(b""), "is truncated: it has 0 bytes"),
        (blank, "cannot be read"),
    ],
)
def test_a_damaged_table_is_refused(
    copy: Path, row_length: int, harm: Callable[[Path], object], fault: str
) -> None:
    rows = ShardSet.open(copy, row_length=row_length)
    harm(copy / TABLE)
    with pytest.raises(UserError) as caught:
        find_documents(rows, 0)
    assert f"table of documents {copy / TABLE} {fault}" in str(caught.value)


@pytest.mark.parametrize("row_length", [16, 23])
@pytest.mark.parametrize(
    ("column", "change", "fault"),
    [
        ("tokens", [1, 1], "does not fit the rows of train-00000-000.arrow"),
        ("tokens", [1, -1], "does not fit the rows of train-00000-000.arrow"),
        ("source", [99, 99], "names source"),
    ],
)
def test_a_table_that_does_not_fit_the_row_is_refused(
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    row_length: int,
    column: str,
    change: list[int],
    fault: str,
) -> None:
    rows = ShardSet.open(copy, row_length=row_length)
    row = find_documents(rows, 0)[0].last_row  # where the first document is closed
    table = pq.read_table(copy / TABLE)
    trained = np.flatnonzero(~table["validation"].to_numpy())
    values = table[column].to_numpy().copy()
    values[trained[:2]] += np.array(change).astype(values.dtype)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), copy / TABLE)
    monkeypatch.setattr("gpt2zh.data.documents.check_size", lambda folder, entry, kind: None)
    with pytest.raises(UserError, match=fault):
        find_documents(rows, row)
