"""Plots: bars have lengths in proportion, and labels stay in their room."""

from __future__ import annotations

import pytest

from gpt2zh.pages.plots import (
    LABEL,
    WIDTH,
    Bar,
    Bins,
    Caption,
    Figure,
    Line,
    Panel,
    Part,
    Rect,
    Stack,
    Text,
    bars,
    histograms,
    span,
    stacks,
)

CAPTION = Caption("key", "title", "description")


def rects(figure: Figure) -> list[Rect]:
    return [mark for mark in figure.marks if isinstance(mark, Rect)]


def texts(figure: Figure, kind: str) -> list[Text]:
    return [mark for mark in figure.marks if isinstance(mark, Text) and mark.kind == kind]


def test_bars_begin_at_0_and_are_in_proportion() -> None:
    one, two, none = rects(bars(CAPTION, [Bar("a", 1, "1"), Bar("b", 2, "2"), Bar("c", 0, "0")]))
    assert two.width == pytest.approx(2 * one.width) and none.width == 0
    assert one.x == two.x == LABEL and two.x + two.width < WIDTH
    assert (one.tip, one.data) == ("a: 1", {"value": "1"})


def test_no_bars_and_bars_of_0_can_be_drawn() -> None:
    assert not bars(CAPTION, []).marks
    assert [rect.width for rect in rects(bars(CAPTION, [Bar("a", 0, "0")]))] == [0]


def test_parts_of_a_stack_follow_one_another_and_fill_the_whole() -> None:
    parts = [Part("blue", 3, "3"), Part("red", 1, "1")]
    full, half = rects(stacks(CAPTION, [Stack("a", parts, "4", 4)]))
    (again, _) = rects(stacks(CAPTION, [Stack("a", parts, "4", 8)]))
    assert half.x == pytest.approx(full.x + full.width) and full.width == pytest.approx(
        3 * half.width
    )
    assert again.width == pytest.approx(full.width / 2)
    assert [rect.width for rect in rects(stacks(CAPTION, [Stack("a", parts[:0], "", 0)]))] == []


def test_histograms_share_their_bins_and_mark_a_place_inside_them() -> None:
    bins = Bins([0, 1, 2, 4], "tokens", "tokens", 2, "row of 2")
    panels = [Panel("one", [1, 2, 4], "documents"), Panel("two", [0, 5, 10], "tokens")]
    figure = histograms(CAPTION, panels, bins)
    drawn = rects(figure)
    assert [rect.x for rect in drawn[:3]] == [rect.x for rect in drawn[3:]]
    assert drawn[2].height == pytest.approx(2 * drawn[1].height)
    assert drawn[2].tip == "2 to 3 tokens: 4 documents" and drawn[0].tip == "0 tokens: 1 documents"
    rules = [mark for mark in figure.marks if isinstance(mark, Line) and mark.kind == "rule"]
    assert [rule.x1 for rule in rules] == pytest.approx([drawn[2].x - 0.5] * 2)


def test_a_place_outside_the_bins_is_not_marked() -> None:
    figure = histograms(
        CAPTION, [Panel("one", [1], "documents")], Bins([4, 8], "", "tokens", 512, "row")
    )
    assert not [mark for mark in figure.marks if isinstance(mark, Line) and mark.kind == "rule"]
    assert "row" not in [mark.text for mark in figure.marks if isinstance(mark, Text)]


@pytest.mark.parametrize("largest", [0, 1, 5, 6, 99, 100, 101, 12_345, 10**9 + 1])
def test_an_axis_has_few_whole_ticks_and_holds_the_largest(largest: int) -> None:
    bins = Bins([1, 2], "", "tokens", 0, "")
    figure = histograms(CAPTION, [Panel("one", [largest], "documents")], bins)
    grid = [mark for mark in figure.marks if isinstance(mark, Line) and mark.kind == "grid"]
    assert 2 <= len(grid) <= 6
    (rect,) = rects(figure)
    assert rect.y >= min(line.y1 for line in grid)


@pytest.mark.parametrize("name", ["x" * 200, "W" * 60, "唐诗" * 40, "<>" * 60])
def test_a_long_name_loses_its_middle_and_has_it_in_the_tip(name: str) -> None:
    (label,) = texts(bars(CAPTION, [Bar(name, 1, "1")]), "name")
    assert label.tip == name and "…" in label.text and len(label.text) < len(name)
    head, tail = label.text.split("…")
    assert name.startswith(head) and name.endswith(tail) and abs(len(head) - len(tail)) <= 1


def test_a_short_name_is_shown_whole_and_visible() -> None:
    (label,) = texts(bars(CAPTION, [Bar("a\n唐诗.csv", 1, "1")]), "name")
    assert (label.text, label.tip) == ("a↵唐诗.csv", "")


def test_a_span_of_one_number_is_that_number() -> None:
    assert span(4, 4) == "4" and span(1024, 2047) == "1,024 to 2,047"
