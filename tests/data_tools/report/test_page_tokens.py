"""The page's sections about the text: lengths, tokens per character, unknown text."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from ledgers import make_source

from data_tools.report.account import Account
from data_tools.report.page_tokens import density, lengths, unknown
from gpt2zh.data.manifest import KEPT

from .conftest import bars_of, figure, make_account, make_lengths

SOURCES = (
    make_source("d/a.csv", {KEPT: (3, 90)}, characters=30, tokens=60),
    make_source("d/b.csv", {KEPT: (1, 90)}, characters=30, tokens=15),
)


def documents_in(shards: Path) -> dict[str, np.ndarray]:
    tables = [pq.read_table(path) for path in sorted(shards.glob("documents-*.parquet"))]
    assert len(tables) > 2
    names = ("source", "characters", "tokens", "validation")
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in names}


def test_plots_show_what_the_tables_say(
    made: Path, account: Account, page: ElementTree.Element
) -> None:
    documents = documents_in(made)
    marks = list(figure(page, "lengths").iter("rect"))
    assert len(marks) % 2 == 0 and len(marks) > 10
    half = len(marks) // 2
    for number, mark in enumerate(marks):
        low, high = int(mark.get("data-from", "")), int(mark.get("data-to", ""))
        inside = documents["tokens"][(documents["tokens"] >= low) & (documents["tokens"] <= high)]
        expected = len(inside) if number < half else inside.sum()
        assert float(mark.get("data-value", "")) == expected
    assert sum(float(mark.get("data-value", "")) for mark in marks[:half]) == len(
        documents["tokens"]
    )
    for panel in (marks[:half], marks[half:]):
        values = np.array([float(mark.get("data-value", "")) for mark in panel])
        heights = np.array([float(mark.get("height", "")) for mark in panel])
        np.testing.assert_allclose(heights, values * heights.max() / values.max(), atol=0.01)
    density = dict(bars_of(figure(page, "density")))
    for number, source in enumerate(account.manifest.sources):
        mine = documents["source"] == number
        value = documents["tokens"][mine].sum() / documents["characters"][mine].sum()
        name = source.path.split("/in/")[1]
        assert density[f"{name}: {value:.3f}"] == pytest.approx(value)


def test_without_documents_or_unknown_texts_there_is_no_section() -> None:
    assert lengths(make_account(make_source())) is None
    assert unknown(make_account(make_source())) is None
    assert density(make_account(make_source())).numbers.rows == [["a.csv", "0", "0", "-", "-"]]


def test_bins_reach_from_the_shortest_to_the_longest_document() -> None:
    section = lengths(
        make_account(*SOURCES, train=[make_lengths({5: 2, 40: 1}), make_lengths({})],
                     held=[make_lengths({}), make_lengths({15: 1})])
    )  # fmt: skip
    assert section
    rows = [row[:5] for row in section.numbers.rows]
    assert rows[0] == ["4 to 5", "2", "50.00", "0", "10"]
    assert rows[-1] == ["32 to 45", "1", "25.00", "0", "40"]
    assert ["12 to 15", "1", "25.00", "1", "15"] in rows
    assert [row[:2] for row in section.by_group.rows] == [
        ["all", "4"],
        ["a.csv", "3"],
        ["b.csv", "1"],
    ]
    assert list(section.by_group.sums) == [0]


def test_tokens_per_character_are_those_of_each_group_and_of_all() -> None:
    rows = density(make_account(*SOURCES)).numbers.rows
    assert [(row[0], row[-1]) for row in rows] == [
        ("all", "1.250"),
        ("a.csv", "2.000"),
        ("b.csv", "0.500"),
    ]


def test_all_unknown_texts_are_in_the_table_and_the_first_in_the_chart() -> None:
    texts = {chr(0x4E00 + number): 99 - number for number in range(23)}
    chart = unknown(make_account(make_source(), unknown=texts))
    assert chart
    assert [row[0] for row in chart.numbers.rows] == list(texts)
    assert chart.numbers.rows[0][1:] == ["U+4E00 CJK UNIFIED IDEOGRAPH-4E00", "99"]
    assert "first 20 of 23" in chart.figure.caption.description
