"""`--skip-rows`: numbers, ranges and the files of bad steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.plan.skipped_rows import read_rows


def bad_step(path: Path, *numbers: int) -> Path:
    """A file as `recipes.bad_steps` writes it, as far as it is read."""
    rows = [{"number": number, "text": "从前有座山"} for number in numbers]
    path.write_text(json.dumps({"step": 3, "rows": rows}, ensure_ascii=False), "utf-8")
    return path


def test_nothing_is_skipped_without_a_name() -> None:
    found = read_rows((), rows=10)
    assert found.dtype == np.int64 and found.tolist() == []


def test_numbers_ranges_and_files_are_joined_sorted_and_without_repeats(tmp_path: Path) -> None:
    file = bad_step(tmp_path / "step-3.json", 99, 4, 17)
    found = read_rows(("17", "40-43, 41,5-5", str(file)), rows=100)
    assert found.dtype == np.int64
    assert found.tolist() == [4, 5, 17, 40, 41, 42, 43, 99]


def test_a_step_whose_rows_are_unknown_skips_nothing(tmp_path: Path) -> None:
    assert read_rows([str(bad_step(tmp_path / "step-3.json"))], rows=10).tolist() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("100", "100 names row 100, but the last is 99"),
        ("98-100", "98-100 names row 100, but the last is 99"),
        ("0-999999999999999", "names row 999999999999999, but the last is 99"),
        ("7-3", "7-3 ends before it begins; write 3-7"),
        ("-3", "'-3' is neither a row (17), a range (40-47) nor a file that can be read (No such"),
        ("3-", "'3-' is neither a row"),
        ("three", "'three' is neither a row"),
        ("", "'.' is neither a row (17), a range (40-47) nor a file that can be read (Is a dir"),
    ],
)
def test_a_text_without_a_meaning_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read_rows(("5", text), rows=100)
    assert str(caught.value).startswith("skip_rows: ") and told in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"rows": 3}',
        b'{"rows": [3]}',
        b'{"rows": [{"row": 3}]}',
        b'{"rows": [{"number": "x"}]}',
        b'{"rows": [{"number": null}]}',
    ],
)
def test_a_file_that_no_run_has_written_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="is not the file of a bad step: it has no list of rows"):
        read_rows([str(tmp_path / "file")], rows=100)


@pytest.mark.parametrize("number", [-1, 100])
def test_a_file_with_a_row_that_does_not_exist_is_refused(tmp_path: Path, number: int) -> None:
    """It may be of a run on other data."""
    with pytest.raises(UserError, match=f"step-3.json names row {number}"):
        read_rows([str(bad_step(tmp_path / "step-3.json", 5, number))], rows=100)
