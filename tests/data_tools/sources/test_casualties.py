"""What a user is told about records set aside."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from data_tools.sources.block import SetAside
from data_tools.sources.casualties import describe_all, find_first, read_lists


def fault(line: int, reason: str, detail: str = "d") -> SetAside:
    return SetAside(line, reason, detail, "e", 1)


def test_the_first_fault_of_each_reason_is_named_with_its_cure() -> None:
    items = [
        ("a", fault(2, "missing key")),
        ("a", fault(4, "bad JSON")),
        ("b", fault(1, "bad JSON")),
    ]
    assert describe_all(find_first(items)) == (
        "\n  bad JSON (2): a:4: d: e -> correct it there"
        "\n  missing key (1): a:2: d: e -> choose one of its keys with --content-column"
    )
    assert describe_all(find_first([])) == ""


def test_one_missing_quote_is_one_record_hurt() -> None:
    rows = [fault(10, "unclosed quote"), *(fault(n, "ragged row") for n in range(11, 300))]
    apart = [fault(400, "ragged row"), fault(401, "broken quoting")]
    quote, ragged, broken = find_first([("a", item) for item in rows + apart])
    assert (quote.records, quote.followers) == (1, 289)
    assert "(1, and 289 rows behind it that are pieces of the record): a:10" in quote.describe()
    assert (ragged.records, ragged.first.line, broken.records) == (1, 400, 1)


def test_one_row_behind_an_open_quote_is_a_piece() -> None:
    (quote,) = find_first([("a", fault(1, "unclosed quote")), ("a", fault(2, "ragged row"))])
    assert "(1, and 1 row behind it that is a piece of the record): a:1" in quote.describe()


def test_a_damaged_file_has_a_cure_that_also_fits_before_a_preparation() -> None:
    (damaged,) = find_first([("a", fault(1, "damaged file"))])
    assert damaged.describe().endswith(" -> replace it with a complete copy")


def test_a_ragged_row_of_another_file_is_a_fault_of_its_own() -> None:
    found = find_first([("a", fault(1, "unclosed quote")), ("b", fault(2, "ragged row"))])
    assert [(one.file, one.records, one.followers) for one in found] == [("a", 1, 0), ("b", 1, 0)]


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = find_first([("a\x1b[1m", SetAside(1, "x", "\x1b", "\x00", 1))])[0].describe()
    assert "\x1b" not in text and "\x00" not in text


def test_lists_are_read_as_they_were_written(tmp_path: Path) -> None:
    item = fault(3, "bad UTF-8")
    path = tmp_path / "list"
    path.write_text(json.dumps({"file": "a", **asdict(item)}) + "\n")
    assert list(read_lists([tmp_path / "none", path, path])) == [("a", item)] * 2
