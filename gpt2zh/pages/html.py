"""HTML pages made with Jinja2: each is one file without scripts that needs no network.

Every value is escaped, and control characters in it are made visible. A name that a template uses
and nobody gave is an error. Pages are well-formed XML too, so any parser can read them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gpt2zh.pages.characters import visible


@dataclass(frozen=True)
class Table:
    """A table for the macro `table` of parts.html."""

    head: Sequence[str]
    """Names of the columns."""
    rows: Sequence[Sequence[str]]
    """The cells; the first of each row is the row's name."""
    left: int = 1
    """Number of columns at the left that hold text; the others hold numbers."""
    sums: Collection[int] = ()
    """Numbers of the rows that are sums of others."""


def render(template: str, /, *, package: str = "gpt2zh.pages", **values: object) -> str:
    """Return the page that a template makes.

    Args:
        template: Name of a file in the folder `templates` of the package. It can extend `page.html`
            and import `parts.html`, which belong to this package.
        package: Where the template is.
        values: The names that the template uses.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("gpt2zh.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)


def _shown(value: object) -> str:
    """Return the text of a value; Jinja2 escapes it afterwards, unless it is markup already."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):  # a coordinate
        return f"{value:.2f}".rstrip("0").rstrip(".")
    assert value is not None, "a template shows a value that is None"
    return visible(str(value))
