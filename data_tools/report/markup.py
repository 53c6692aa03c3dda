"""HTML and SVG as text, every name and value from outside escaped at one place.

What comes out is well-formed XML too, so that any parser reads it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from data_tools.signs import visible

_VOID = ("meta", "col")  # elements that HTML closes itself


class Markup(str):
    """Text that is markup already and goes in as it is."""


def element(tag: str, /, *children: str, **attributes: str | float) -> Markup:
    """Return an element.

    Args:
        tag: Its name.
        children: Markup, or text, which is escaped; control characters in it are made visible.
        attributes: A trailing underscore is left out, others become hyphens: `class_`,
            `data_value`.
    """
    given = "".join(f' {_name(key)}="{_text(value)}"' for key, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{given}/>")
    inner = "".join(child if isinstance(child, Markup) else _text(child) for child in children)
    return Markup(f"<{tag}{given}>{inner}</{tag}>")


def _name(key: str) -> str:
    # The names of SVG's own attributes are mixed, this one is the only such we need.
    return "viewBox" if key == "viewbox" else key.rstrip("_").replace("_", "-")


def _text(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return html.escape(visible(str(value)))


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    left: int = 1,
    sums: str | None = None,
) -> Markup:
    """Return a table that scrolls by itself where it is too wide.

    Args:
        head: Names of the columns.
        rows: Their cells; the first of each is the row's head.
        caption: What it shows, where no heading says so.
        left: Columns at the left that hold text; numbers end at the right.
        sums: Text in one of these columns that marks a row as a sum.
    """
    sides = ["left" if number < left else "right" for number in range(len(head))]
    lines = []
    for row in rows:
        first, *others = row
        cells = [element("th", first, scope="row", class_=sides[0])]
        cells += (
            element("td", cell, class_=side) for cell, side in zip(others, sides[1:], strict=True)
        )
        is_sum = sums is not None and sums in row[:left]
        lines.append(element("tr", *cells, class_="sum" if is_sum else "part"))
    names = (
        element("th", name, scope="col", class_=side)
        for name, side in zip(head, sides, strict=True)
    )
    return element(
        "div",
        element(
            "table",
            *([element("caption", caption)] if caption else []),
            element("thead", element("tr", *names)),
            element("tbody", *lines),
        ),
        class_="scroll",
    )


def folded(summary: str, *children: Markup) -> Markup:
    """Return what is shown when it is asked for."""
    return element("details", element("summary", summary), *children)
