"""The report as a page: one file without scripts that needs nothing from anywhere.

A plot stands first in each section and its numbers stand below it in a table. The page follows
from the shards alone, so the same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_tools.report import page_ledger, page_rows, page_tokens
from data_tools.report.account import Account
from data_tools.report.figures import count, ratio, share, size
from data_tools.report.markup import Markup, element
from data_tools.report.style import STYLE
from data_tools.shards.ledger import by_kind
from data_tools.signs import visible
from gpt2zh.data.manifest import KEPT

_NO_NETWORK = "default-src 'none'; style-src 'unsafe-inline'"


def page(account: Account) -> str:
    """Return the page, complete."""
    sections = [
        ("ledger", "Where every byte went", page_ledger.ledger(account)),
        ("lengths", "Length of documents", page_tokens.lengths(account)),
        ("density", "Tokens per character", page_tokens.density(account)),
        ("unknown", "Unknown texts", page_tokens.unknown(account)),
        ("rows", "Rows and shards", page_rows.rows(account)),
        ("files", "Files", page_ledger.files(account)),
        ("options", "Options and versions", page_rows.options(account)),
    ]
    links = (element("a", name, href=f"#{key}-section") for key, name, _ in sections)
    fingerprint = element("code", account.manifest.fingerprint)
    body = element(
        "body",
        element("h1", account.name),
        element("p", "Shards with the fingerprint ", fingerprint, class_="soft"),
        _tiles(account),
        element("nav", *links, aria_label="Sections"),
        element("main", *(_section(*section) for section in sections)),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_NO_NETWORK),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{visible(account.name)}: report on shards"),
        element("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(key: str, name: str, parts: Sequence[Markup]) -> Markup:
    return element("section", element("h2", name), *parts, id=f"{key}-section")


def _tiles(account: Account) -> Markup:
    splits = account.manifest.splits.values()
    kept = by_kind(account.all.fates)[KEPT]
    read = account.all.read
    tiles = [
        ("files", count(len(account.manifest.sources))),
        ("read", size(read.bytes)),
        ("kept of the bytes", f"{share(kept.bytes, read.bytes)} %"),
        ("kept of the documents", f"{share(kept.documents, read.documents)} %"),
        ("documents kept", count(kept.documents)),
        ("tokens", count(account.all.tokens)),
        ("tokens per character", ratio(account.all.tokens, account.all.characters)),
        (
            f"rows of {account.manifest.row_length}",
            count(sum(split.rows for split in splits)),
        ),
    ]
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", text)) for name, text in tiles),
        class_="tiles",
    )
