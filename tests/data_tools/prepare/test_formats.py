"""What the stages of a preparation hand on to each other."""

from __future__ import annotations

import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.prepare.formats import (
    DOCUMENTS_TABLE,
    describe_file,
    has_decisions,
    has_draft,
    is_finished,
    most_common,
    read_decisions,
    table_writer,
    write_decisions,
)

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


def test_a_damaged_record_is_as_good_as_none(begin: Begin) -> None:
    """A disk that lost power may keep half of it; the unit is prepared again."""
    work = begin(TEXTS).draft().decide().pack()
    plan, folder, unit = work.plan, work.folder, work.plan.unit(0)
    for path in (folder.unit(0), folder.draft(0, "json")):
        whole = path.read_bytes()
        for damaged in (whole[:6], b"", whole[:-1], b"\xff\x00"):
            path.write_bytes(damaged)
            assert not is_finished(plan, folder, unit)
        path.write_bytes(whole)
    assert is_finished(plan, folder, unit)
    folder.decided.write_bytes(folder.decided.read_bytes()[:5])
    assert not has_decisions(plan, folder)
    folder.draft(0, "json").write_bytes(b"{")
    assert not has_draft(plan, folder, unit)
    manifest = work.finish()
    assert manifest.sources[0].records == 2


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
