"""The page's sections about the input: what became of its bytes, and its files."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ledgers import make_source

from data_tools.report import html
from data_tools.report.account import Account
from data_tools.report.page_ledger import files, ledger
from gpt2zh.data.manifest import EMPTY, KEPT
from gpt2zh.pages.plots import LABEL, Figure, Rect

from .conftest import bars_of, figure, make_account


def test_the_stacked_bars_fill_their_width_with_every_fate(
    account: Account, page: ElementTree.Element
) -> None:
    manifest = account.manifest
    bars = bars_of(figure(page, "ledger"))
    for source in manifest.sources:
        name = source.path.split("/in/")[1]
        mine = {
            text.split(", ")[1].split(":")[0]: value
            for text, value in bars
            if text.startswith(f"{name}, ")
        }
        assert sum(mine.values()) == source.read and mine["kept"] == source.fates[KEPT].bytes
    rects = list(figure(page, "ledger").iter("rect"))
    widths = [float(rect.get("width", "")) for rect in rects]
    ends = {float(rect.get("x", "")) + width for rect, width in zip(rects, widths, strict=True)}
    assert sum(widths) == pytest.approx(4 * (max(ends) - LABEL), abs=0.2)
    unknown = bars_of(figure(page, "unknown"))
    assert [value for _, value in unknown] == list(manifest.unknown.values())[:20]


def test_of_too_many_files_the_page_shows_the_largest_and_says_so(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_tools.report.page_ledger._MOST_FILES", 2)
    text = html.page(account)
    assert "The largest 2 files" in text and " The smallest file is not shown here" in text
    monkeypatch.setattr("data_tools.report.page_ledger._MOST_FILES", 1)
    text = html.page(account)
    assert "The largest 1 file<" in text and " The 2 smallest files are not shown here" in text


def width_of(figure: Figure, name: str) -> float:
    """Return the width of all parts of a bar."""
    rects = (mark for mark in figure.marks if isinstance(mark, Rect))
    return sum(rect.width for rect in rects if rect.tip.startswith(f"{name}, "))


def test_where_everything_was_kept_nothing_is_enlarged() -> None:
    whole = make_source("d/a.csv", {KEPT: (2, 80)})
    section = ledger(make_account(whole))
    assert section.enlarged is None and not section.groups and not section.set_aside
    assert section.legend == [("blue", "kept")]


def test_what_was_not_kept_is_enlarged_to_its_largest_share() -> None:
    sources = [
        make_source("d/a.csv", {KEPT: (9, 900), EMPTY: (1, 100)}),
        make_source("d/b.csv", {KEPT: (1, 500), "set aside: x": (1, 20)}),
    ]
    section = ledger(make_account(*sources))
    assert section.enlarged
    assert "the full width is 10.00 %" in section.enlarged.caption.description
    assert width_of(section.enlarged, "a.csv") == pytest.approx(width_of(section.shares, "a.csv"))
    assert [name for _, name in section.legend] == ["kept", "empty", "set aside"]
    assert section.set_aside == "set_aside.jsonl"
    assert [group.name for group in section.groups] == ["a.csv", "b.csv"]


def test_the_largest_files_are_shown_in_the_order_of_the_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("data_tools.report.page_ledger._MOST_FILES", 2)
    sources = [make_source(f"d/{size}.csv", {KEPT: (1, size)}) for size in (5, 1, 9)]
    section = files(make_account(*sources))
    assert [row[0] for row in section.table.rows] == ["5.csv", "9.csv"]
    assert [fates.name for fates in section.fates] == ["5.csv", "9.csv"] and section.left_out == 1
