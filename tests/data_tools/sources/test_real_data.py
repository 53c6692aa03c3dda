"""All of the real corpora, against the csv module."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

REAL = Path(__file__).parents[4] / "shared" / "data" / "pretrain_csv"
FILES = sorted(REAL.rglob("*.csv"))

pytestmark = pytest.mark.skipif(not FILES, reason="the real corpora are not there")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_real_file_equals_what_the_csv_module_reads(
    read: Callable, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = csv.field_size_limit(16_000_000)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            assert rows.fieldnames
            line = rows.line_num
            wanted = []
            for row in rows:
                wanted.append((line + 1, row["content"]))
                line = rows.line_num
    finally:
        csv.field_size_limit(limit)
    reading = read("", path, size=3_000_000)
    assert reading.documents == wanted
    assert not reading.aside
