"""Plots: bars, stacked bars and histograms, computed here and drawn as SVG by parts.html.

A figure has a title and a description for those who do not see it. Every bar carries its number in
`data-value` and, with its name, in a tooltip. Lengths are in units of the view box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import ClassVar, Literal

from gpt2zh.pages.characters import columns, visible
from gpt2zh.pages.numbers import axis_number, count

WIDTH = 960.0
LABEL = 250.0
"""Room for the names at the left of bars."""

_VALUE = 100.0  # room for the text at their right
_BAR, _STEP = 16.0, 25.0
_PANEL = 150.0  # height of the panel of a histogram
_AXIS, _MARGIN = 64.0, 24.0  # left and right of a panel
_NARROW, _CAPITAL, _WIDE = 7.2, 9.0, 12.2  # widths of characters of 12 units

Anchor = Literal["start", "middle", "end"]
Colour = Literal["blue", "orange", "yellow", "purple", "grey", "red", "pale"]
"""Classes of style.css."""


@dataclass(frozen=True)
class Rect:
    """A bar."""

    shape: ClassVar[str] = "rect"
    x: float
    y: float
    width: float
    height: float
    colour: Colour
    tip: str
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A line of a grid, or one that marks a place."""

    shape: ClassVar[str] = "line"
    x1: float
    y1: float
    x2: float
    y2: float
    kind: str


@dataclass(frozen=True)
class Text:
    """One line of text."""

    shape: ClassVar[str] = "text"
    text: str
    x: float
    y: float
    kind: str
    anchor: Anchor = "start"
    tip: str = ""
    """The text in full where it is shortened."""


Mark = Rect | Line | Text


@dataclass(frozen=True)
class Caption:
    """Words about a figure."""

    key: str
    """Id of the figure in the page."""
    title: str
    description: str
    """What it shows, for those who do not see it."""


@dataclass(frozen=True)
class Figure:
    """What the macro `figure` of parts.html draws, in this order."""

    caption: Caption
    width: float
    height: float
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Bar:
    """A bar and the text behind it."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Part:
    """A part of a stacked bar."""

    colour: Colour
    value: int
    text: str


@dataclass(frozen=True)
class Stack:
    """A bar of several parts, and the text behind it."""

    name: str
    parts: Sequence[Part]
    text: str
    whole: float
    """Value that takes the full width."""


@dataclass(frozen=True)
class Panel:
    """One of several histograms that have the same bins."""

    name: str
    values: Sequence[int]
    """One for each bin."""
    unit: str


@dataclass(frozen=True)
class Bins:
    """The bins of a histogram on a logarithmic axis, and a place to mark on it."""

    edges: Sequence[int]
    """Rising, one more than bins; the first can be 0."""
    axis: str
    """What the axis shows."""
    unit: str
    mark: int
    mark_name: str


def bars(caption: Caption, items: Sequence[Bar]) -> Figure:
    """Return one bar for each item, from 0."""
    largest = max((item.value for item in items), default=0) or 1
    marks: list[Mark] = []
    for number, item in enumerate(items):
        top = number * _STEP
        width = (WIDTH - LABEL - _VALUE) * item.value / largest
        tip = f"{item.name}: {item.text}"
        data = {"value": repr(item.value)}
        marks += [
            _label(item.name, top),
            Rect(LABEL, top + 4, width, _BAR, "blue", tip, data),
            Text(item.text, LABEL + width + 6, top + 16, "value"),
        ]
    return Figure(caption, WIDTH, len(items) * _STEP + 8, marks)


def stacks(caption: Caption, items: Sequence[Stack]) -> Figure:
    """Return one bar of several parts for each item."""
    marks: list[Mark] = []
    for number, item in enumerate(items):
        top = number * _STEP
        x = LABEL
        marks.append(_label(item.name, top))
        for part in item.parts:
            width = (WIDTH - LABEL - _VALUE) * part.value / (item.whole or 1)
            tip = f"{item.name}, {part.text}"
            data = {"value": str(part.value)}
            marks.append(Rect(x, top + 4, width, _BAR, part.colour, tip, data))
            x += width
        marks.append(Text(item.text, x + 6, top + 16, "value"))
    return Figure(caption, WIDTH, len(items) * _STEP + 8, marks)


def histograms(caption: Caption, panels: Sequence[Panel], bins: Bins) -> Figure:
    """Return histograms over the same bins, one below the other."""
    low, high = _position(bins.edges[0]), _position(bins.edges[-1])
    room = WIDTH - _AXIS - _MARGIN

    def x_of(edge: int) -> float:
        return _AXIS + room * (_position(edge) - low) / (high - low)

    step = _PANEL + 76
    marks: list[Mark] = []
    for number, panel in enumerate(panels):
        base = number * step + 28 + _PANEL
        places = [x_of(edge) for edge in bins.edges]
        marks += _panel(panel, bins, places, base)
        marks.append(Text(bins.axis, (places[0] + places[-1]) / 2, base + 35, "tick", "middle"))
        if bins.edges[0] <= bins.mark <= bins.edges[-1]:
            x = x_of(bins.mark)
            is_right = x > WIDTH / 2
            marks += [
                Line(x, base - _PANEL - 14, x, base, "rule"),
                Text(
                    bins.mark_name,
                    x + (-5 if is_right else 5),
                    base - _PANEL - 6,
                    "tick",
                    "end" if is_right else "start",
                ),
            ]
    return Figure(caption, WIDTH, len(panels) * step, marks)


def _panel(panel: Panel, bins: Bins, places: Sequence[float], base: float) -> list[Mark]:
    """Return title, grid, bars and ticks of a histogram that stands on the height `base`."""
    top, step = _scale(max(panel.values, default=0))
    marks: list[Mark] = [Text(panel.name, _AXIS, base - _PANEL - 16, "head")]
    for tick in range(0, top + 1, step):
        y = base - _PANEL * tick / top
        marks += [
            Line(_AXIS, y, WIDTH - _MARGIN, y, "grid"),
            Text(axis_number(tick), _AXIS - 6, y + 4, "tick", "end"),
        ]
    for number, value in enumerate(panel.values):
        first, last = bins.edges[number], bins.edges[number + 1] - 1
        height = _PANEL * value / top
        marks.append(
            Rect(
                places[number] + 0.5,
                base - height,
                max(0.5, places[number + 1] - places[number] - 1),
                height,
                "blue",
                f"{span(first, last)} {bins.unit}: {count(value)} {panel.unit}",
                {"value": str(value), "from": str(first), "to": str(last)},
            )
        )
    last_label = -100.0
    for edge, place in zip(bins.edges, places, strict=True):
        if (edge & (edge - 1)) == 0 and place - last_label > 48:  # 0 and the powers of two
            last_label = place
            marks.append(Text(axis_number(edge), place, base + 17, "tick", "middle"))
    return marks


def span(first: int, last: int) -> str:
    """Return the whole numbers from the first to the last in words."""
    return count(first) if first == last else f"{count(first)} to {count(last)}"


def _scale(largest: int) -> tuple[int, int]:
    """Return the end of an axis from 0 and the step between its ticks, both whole."""
    step = 1
    while largest > 5 * step:  # 1, 2, 5, 10, 20, 50, ...
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return max(step, -(-largest // step) * step), step


def _position(edge: int) -> float:
    return log2(edge) if edge else -1.0


def _label(name: str, top: float) -> Text:
    """Return a name that ends where the bars begin."""
    text = visible(name)
    short = _shortened(text, LABEL - 14)
    return Text(short, LABEL - 8, top + 16, "name", "end", tip="" if short == text else text)


def _shortened(text: str, room: float) -> str:
    """Leave out as much of the middle of a text as its width requires."""
    short, kept = text, len(text)
    while sum(map(_width, short)) > room:
        kept -= 1
        short = text[: kept // 2] + "\u2026" + text[len(text) - (kept - kept // 2) :]
    return short


def _width(character: str) -> float:
    """Estimate the width of a character; fonts differ, so it is a generous one."""
    if columns(character) == 2:
        return _WIDE
    return _CAPITAL if character.isupper() or character in "mw@%<>+=_" else _NARROW
