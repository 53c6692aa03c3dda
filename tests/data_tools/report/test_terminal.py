"""The report as text: the ledger line by line, then what the rows hold."""

from __future__ import annotations

import pytest
from ledgers import make_source

from data_tools.report.account import Account
from data_tools.report.terminal import (
    QUANTILES,
    describe,
    fate_rows,
    quantile_head,
    quantile_row,
    report,
)
from gpt2zh.data.manifest import EMPTY, KEPT

from .conftest import cut, make_account, make_lengths


def test_the_ledger_is_printed_and_sums_up(account: Account) -> None:
    lines = report(account).splitlines()
    manifest = account.manifest
    begin = lines.index("all (3 files)")
    end = next(i for i in range(begin, len(lines)) if lines[i].startswith("  = read"))
    cells = [line.rsplit(maxsplit=4) for line in lines[begin + 1 : end + 1]]
    fates = {fate.strip(): numbers for fate, *numbers in cells}
    read = sum(source.read for source in manifest.sources)
    records = sum(source.records for source in manifest.sources)
    assert fates.pop("= read") == [f"{records:,}", "100.00", f"{read:,}", "100.00"]
    assert sum(int(row[0].replace(",", "")) for row in fates.values()) == records
    assert sum(int(row[2].replace(",", "")) for row in fates.values()) == read
    assert {"kept", "exact duplicate", "empty", "structure", "filtered: too short"} <= fates.keys()
    (aside,) = (fate for fate in fates if fate.startswith("set aside: "))
    assert fates[aside][0] == fates["empty"][0] == fates["filtered: too short"][0] == "1"
    assert fates["kept"][0] == "139" and fates["exact duplicate"][0] == "41"


def test_every_file_has_its_own_sum(account: Account) -> None:
    lines = report(account).splitlines()
    for source in account.manifest.sources:
        begin = lines.index(source.path.split("/in/")[1])
        sums = next(line for line in lines[begin:] if line.startswith("  = read"))
        assert sums.split()[2:] == [f"{source.records:,}", "100.00", f"{source.read:,}", "100.00"]


def test_tokens_rows_encodings_options_and_unknown_texts_are_shown(account: Account) -> None:
    shown = report(account)
    manifest = account.manifest
    tokens = sum(split.tokens for split in manifest.splits.values())
    characters = sum(split.characters for split in manifest.splits.values())
    (line,) = (row for row in shown.splitlines() if row.startswith("all  ") and "." in row)
    assert line.split()[2:] == [
        f"{characters:,}",
        f"{tokens:,}",
        "100.00",
        f"{tokens / characters:.3f}",
    ]
    assert f"{manifest.splits['train'].rows:,}" in shown and "b/gb.csv" in shown
    assert "csv, gb18030" in shown and "a/one.csv   csv" not in shown
    assert (
        "min_characters=2" in shown.split("defaults")[0]
        and "packing=full" not in shown.split("defaults")[0]
    )
    assert manifest.unknown and all(text in shown for text in list(manifest.unknown)[:3])


def test_a_group_of_nothing_has_no_shares() -> None:
    assert fate_rows(make_account(make_source()).all) == [["= read", "0", "-", "0", "-"]]
    rows = fate_rows(make_account(make_source(fates={EMPTY: (3, 10), KEPT: (1, 30)})).all)
    assert rows[:2] == [
        [KEPT, "1", "25.00", "30", "75.00"],
        [EMPTY, "3", "75.00", "10", "25.00"],
    ]


def test_quantiles_of_no_documents_are_dashes() -> None:
    row = quantile_row("a", make_lengths({}))
    assert row == ["a", "0", *["-"] * (len(QUANTILES) + 2)] and len(row) == 1 + len(quantile_head())
    assert quantile_row("a", make_lengths({3: 1, 5000: 99}))[1:4] == ["100", "3", "5,000"]


def test_one_file_needs_no_line_for_all() -> None:
    source = make_source(fates={KEPT: (1, 9)}, characters=4, tokens=2)
    shown = report(make_account(source))
    assert "all (" not in shown and "\nall " not in shown
    assert "unknown     none" in shown and "options     all have their default values" in shown
    assert "all (2 files)" in report(make_account(source, make_source("d/b.csv")))


def test_documents_that_were_cut_are_announced() -> None:
    account = make_account(make_source(fates={KEPT: (3, 90)}, characters=30, tokens=20))
    assert "held out" not in report(account)
    shown = report(cut(account))
    assert "held out    blocks of 7 tokens are held out" in shown
    assert "each part of a document that was cut" in " ".join(shown.split())


def test_of_many_files_that_are_not_plain_the_kinds_are_counted() -> None:
    sources = [make_source(f"d/{number}.csv", encoding="gb18030") for number in range(25)]
    shown = report(make_account(*sources))
    assert "files       25 csv, gb18030" in shown and "not plain" not in shown


def test_of_many_unknown_texts_the_first_are_shown() -> None:
    unknown = {chr(0x4E00 + number): 99 - number for number in range(23)}
    shown = report(make_account(make_source(), unknown=unknown))
    assert chr(0x4E00 + 19) in shown and chr(0x4E00 + 20) not in shown
    assert "(the page lists 3 more)" in shown


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("a", "U+0061 LATIN SMALL LETTER A"),
        ("ab", "U+0061 U+0062"),
        ("a" * 9, "U+0061 " * 8 + "..."),
    ],
)
def test_a_text_is_described_by_code_points(text: str, described: str) -> None:
    assert describe(text) == described
