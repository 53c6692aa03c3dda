"""What the stages of a preparation hand on to each other."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.config import FinishConfig
from data_tools.prepare.formats import (
    DOCUMENTS_TABLE,
    describe_file,
    has_decisions,
    has_draft,
    is_finished,
    most_common,
    read_blocks,
    read_decisions,
    read_draft,
    read_unit,
    table_writer,
    write_decisions,
)
from data_tools.prepare.pack import begin_packing, pack_unit
from data_tools.prepare.run import finish, run
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import SET_ASIDE, read_manifest

from .conftest import Begin

TEXTS = ["从前有座山", "短"]


@pytest.mark.parametrize("kind", ["tokens", "documents", "set_aside"])
def test_a_draft_that_lacks_a_file_or_a_byte_is_not_complete(begin: Begin, kind: str) -> None:
    work = begin(TEXTS).draft()
    unit = work.plan.unit(0)
    assert has_draft(work.plan, work.folder, unit)
    path = work.folder.draft(0, kind)
    os.truncate(path, path.stat().st_size + 1)
    assert not has_draft(work.plan, work.folder, unit)
    path.unlink()
    assert not has_draft(work.plan, work.folder, unit)


def test_work_of_another_plan_does_not_count(begin: Begin) -> None:
    work = begin(TEXTS).draft().decide()
    other = replace(work.plan, base="other")
    assert has_decisions(work.plan, work.folder) and not has_decisions(other, work.folder)
    assert not has_draft(other, work.folder, work.plan.unit(0))
    work.pack()
    assert is_finished(work.plan, work.folder, work.plan.unit(0))
    assert not is_finished(other, work.folder, work.plan.unit(0))


@pytest.mark.parametrize("text", [b'{"plan', b"null", b"{}", b"\xff"])
@pytest.mark.parametrize("name", ["drafts/00001.json", "drafts/00002.json", "drafts/decided.json"])
@pytest.mark.parametrize("is_joined", [False, True])
def test_work_whose_record_is_damaged_is_done_again(
    begin: Begin, name: str, text: bytes, is_joined: bool
) -> None:
    _check_done_again(begin, name, text, is_joined)


@pytest.mark.parametrize("text", [b"", b"more\n"])
@pytest.mark.parametrize("name", ["units/00001.json", "drafts/decisions", "drafts/00001.set_aside"])
def test_work_of_which_a_file_has_another_size_is_done_again(
    begin: Begin, name: str, text: bytes
) -> None:
    _check_done_again(begin, name, text, False)


def _check_done_again(begin: Begin, name: str, text: bytes, is_joined: bool) -> None:
    """Damage a file of three units, of which the first two are packed, and go on."""
    whole = begin(TEXTS, unit_bytes=1)
    expected = whole.finish()
    shutil.rmtree(whole.config.output)
    work = begin(TEXTS, unit_bytes=1).draft().decide()
    tools = begin_packing(work.folder.output)
    for number in (0, 1):
        pack_unit(tools, number, lambda size: None)
    (work.folder.work / name).write_bytes(text)
    if is_joined:
        with pytest.raises(UserError, match="not prepared yet"):
            finish(FinishConfig(shards=work.config.output))
    run(replace(work.config, workers=1))
    found = read_manifest(work.config.output)
    assert replace(found, extras=()) == replace(expected, extras=())
    assert (work.config.output / SET_ASIDE).read_bytes() == b""
    assert not work.folder.path.exists()


def test_a_record_that_is_gone_is_named(begin: Begin) -> None:
    work = begin(TEXTS).draft().decide().pack()
    for path, read in (
        (work.folder.draft(0, "json"), lambda: read_draft(work.folder, 0)),
        (work.folder.unit(0), lambda: read_unit(work.folder, 0)),
        (work.folder.decided, lambda: read_blocks(work.folder)),
    ):
        path.unlink()
        with pytest.raises(UserError, match=f"{path} is missing or damaged; run prepare again"):
            read()


def test_decisions_come_back_by_unit(begin: Begin) -> None:
    work = begin(TEXTS)
    assert not has_decisions(work.plan, work.folder)
    codes = np.array([0, 1, 2, 0, 1], np.uint8)
    write_decisions(work.plan, work.folder, codes, {3: 2, 4: 4, 5: 5})
    found = [read_decisions(work.folder, unit, count).tolist() for unit, count in ((3, 2), (4, 1))]
    assert found == [[2, 0], [1]]
    assert read_decisions(work.folder, 5, 0).tolist() == []


def test_tables_keep_their_schema_and_values() -> None:
    file = io.BytesIO()
    columns = [[0, 0], [2, 1 << 40], [5, 5], [7, 7], [1 << 63, 0], [True, False]]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, DOCUMENTS_TABLE, strict=True)
    ]
    with table_writer(file, DOCUMENTS_TABLE) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=DOCUMENTS_TABLE))
    table = pq.read_table(file)
    assert table.schema.equals(DOCUMENTS_TABLE) and table["hash"].to_pylist() == [1 << 63, 0]
    assert "bytes" not in table.column_names and table["line"].to_pylist() == [2, 1 << 40]


def test_a_file_is_described_by_its_name_size_and_sum(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    entry = describe_file(tmp_path / "a.txt")
    assert (entry.file, entry.bytes) == ("a.txt", 3)
    assert entry.sha256.startswith("ba7816bf8f01cfea")


def test_of_equal_counts_the_order_of_the_texts_decides() -> None:
    counts = Counter({"甲": 2, "乙": 2, "a": 1, "b": 5})
    assert list(most_common(counts, 3).items()) == [("b", 5), ("乙", 2), ("甲", 2)]
