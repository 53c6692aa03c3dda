"""Plots as SVG: bars, stacked bars and histograms, drawn by arithmetic alone.

Each figure has a title and a description for those who do not see it. Every mark carries its
number in `data-value` and, with its name, in a tooltip. Lengths are in units of the view box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from data_tools.report.figures import count
from data_tools.report.markup import Markup, element
from data_tools.signs import visible, width

WIDE = 900.0
_LABEL = 240.0  # for the names at the left of bars
_VALUE = 110.0  # for the figures at their right
_BAR, _STEP = 16.0, 24.0
_HIGH = 150.0  # of a panel of a histogram
_SIGN = 6.4  # width of a narrow character
_AXIS, _MARGIN = 56.0, 28.0  # left and right of a panel


@dataclass(frozen=True)
class Bar:
    """A bar and what is written beside it."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Part:
    """A part of a bar."""

    kind: str
    """Class of the style sheet."""
    value: int
    text: str


@dataclass(frozen=True)
class Stack:
    """A bar of several parts, and what is written behind it."""

    name: str
    parts: tuple[Part, ...]
    text: str


@dataclass(frozen=True)
class Panel:
    """One histogram of those that share their bins."""

    name: str
    values: Sequence[int]
    unit: str


def bars(title: str, description: str, items: Sequence[Bar], *, key: str) -> Markup:
    """Draw one bar for each item, from 0."""
    largest = max((item.value for item in items), default=0) or 1
    room = WIDE - _LABEL - _VALUE
    marks = []
    for number, item in enumerate(items):
        top = number * _STEP
        length = room * item.value / largest
        marks += [
            _label(item.name, top),
            element(
                "rect",
                element("title", f"{item.name}: {item.text}"),
                x=_LABEL,
                y=top + 4,
                width=length,
                height=_BAR,
                class_="mark",
                data_value=repr(item.value),
            ),
            element("text", item.text, x=_LABEL + length + 6, y=top + 16, class_="value"),
        ]
    return _figure(title, description, marks, high=len(items) * _STEP, key=key)


def stacks(
    title: str, description: str, items: Sequence[Stack], *, whole: Sequence[float], key: str
) -> Markup:
    """Draw one bar of several parts for each item.

    Args:
        title: Of the figure.
        description: What it shows, in words.
        items: The bars.
        whole: For each item, the value that takes the full width.
        key: Names the figure in the page.
    """
    room = WIDE - _LABEL - _VALUE
    marks = []
    for number, (item, scale) in enumerate(zip(items, whole, strict=True)):
        top = number * _STEP
        x = _LABEL
        marks.append(_label(item.name, top))
        for part in item.parts:
            length = room * part.value / (scale or 1)
            marks.append(
                element(
                    "rect",
                    element("title", f"{item.name}, {part.text}"),
                    x=x,
                    y=top + 4,
                    width=length,
                    height=_BAR,
                    class_=f"mark {part.kind}",
                    data_value=part.value,
                )
            )
            x += length
        marks.append(element("text", item.text, x=x + 6, y=top + 16, class_="value"))
    return _figure(title, description, marks, high=len(items) * _STEP, key=key)


def histogram(
    title: str,
    description: str,
    panels: Sequence[Panel],
    *,
    edges: Sequence[int],
    axis: str,
    line: int,
    line_name: str,
    key: str,
) -> Markup:
    """Draw histograms over the same bins, one below the other, on a logarithmic axis.

    Args:
        title: Of the figure.
        description: What it shows, in words.
        panels: Each with a value for each bin.
        edges: One more than bins, rising; the first may be 0.
        axis: What the bins are of.
        line: Number on the axis to mark.
        line_name: What it is.
        key: Names the figure in the page.
    """
    low, high = _place(edges[0]), _place(edges[-1])
    room = WIDE - _AXIS - _MARGIN

    def x_of(edge: int) -> float:
        return _AXIS + room * (_place(edge) - low) / (high - low)

    places = [x_of(edge) for edge in edges]
    step = _HIGH + 72
    marks = []
    for number, panel in enumerate(panels):
        base = number * step + 24 + _HIGH
        marks += _panel(panel, edges, places, base)
        middle = (places[0] + places[-1]) / 2
        marks.append(
            element("text", axis, x=middle, y=base + 34, class_="tick", text_anchor="middle")
        )
        if edges[0] <= line <= edges[-1]:
            x = x_of(line)
            side = "end" if x > WIDE / 2 else "start"
            marks += [
                element("line", x1=x, x2=x, y1=base - _HIGH - 14, y2=base, class_="rule"),
                element(
                    "text",
                    line_name,
                    x=x + (-5 if side == "end" else 5),
                    y=base - _HIGH - 6,
                    class_="note",
                    text_anchor=side,
                ),
            ]
    return _figure(title, description, marks, high=len(panels) * step, key=key)


def _panel(
    panel: Panel, edges: Sequence[int], places: Sequence[float], base: float
) -> list[Markup]:
    top, step = _scale(max(panel.values, default=0))
    marks = [element("text", panel.name, x=_AXIS, y=base - _HIGH - 12, class_="head")]
    for tick in range(0, top + 1, step):
        y = base - _HIGH * tick / top
        marks += [
            element("line", x1=_AXIS, x2=WIDE - _MARGIN, y1=y, y2=y, class_="grid"),
            element("text", short(tick), x=_AXIS - 6, y=y + 4, class_="tick", text_anchor="end"),
        ]
    for number, value in enumerate(panel.values):
        first, last = edges[number], edges[number + 1] - 1
        span = count(first) if first == last else f"{count(first)} to {count(last)}"
        tall = _HIGH * value / top
        marks.append(
            element(
                "rect",
                element("title", f"{span} tokens: {count(value)} {panel.unit}"),
                x=places[number] + 0.5,
                y=base - tall,
                width=max(0.5, places[number + 1] - places[number] - 1),
                height=tall,
                class_="mark",
                data_value=value,
                data_from=first,
                data_to=last,
            )
        )
    last_label = -100.0
    for edge, place in zip(edges, places, strict=True):
        if (edge & (edge - 1)) == 0 and place - last_label > 48:  # 0 and the powers of two
            last_label = place
            marks.append(
                element(
                    "text", short(edge), x=place, y=base + 16, class_="tick", text_anchor="middle"
                )
            )
    return marks


def short(number: int) -> str:
    """Return a number for an axis: exact, but thousands of thousands as such."""
    for size, unit in ((10**9, "G"), (10**6, "M")):
        if number >= size and number % (size // 100) == 0:
            return f"{number / size:g} {unit}"
    return count(number)


def _scale(largest: int) -> tuple[int, int]:
    """Return the end of an axis from 0 and the step between its ticks, both whole."""
    step = 1
    while largest > 5 * step:  # 1, 2, 5, 10, 20, 50, ...
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return max(step, -(-largest // step) * step), step


def _place(edge: int) -> float:
    return log2(edge) if edge else -1.0


def _label(name: str, top: float) -> Markup:
    """Return a name that ends where the bars begin, its middle left out where it is too long."""
    text = visible(name)
    while width(text) * _SIGN > _LABEL - 12:
        text = text[: len(text) // 2 - 1] + "\u2026" + text[len(text) // 2 + 1 :]
    return element("text", text, x=_LABEL - 8, y=top + 16, class_="name", text_anchor="end")


def _figure(
    title: str, description: str, marks: Sequence[Markup], *, high: float, key: str
) -> Markup:
    drawing = element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *marks,
        viewbox=f"0 0 {WIDE:.0f} {high + 8:.0f}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        id=key,
    )
    return element("div", drawing, class_="scroll")
