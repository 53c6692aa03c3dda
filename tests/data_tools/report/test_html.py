"""The page: one file whose plots have names and numbers."""

from __future__ import annotations

from xml.etree import ElementTree

from ledgers import make_source

from data_tools.report import html
from data_tools.report.account import Account
from gpt2zh.data.manifest import EMPTY, KEPT

from .conftest import cut, make_account, make_lengths


def test_every_plot_says_what_it_is_and_has_its_numbers_in_a_table(
    page: ElementTree.Element,
) -> None:
    ids = {node.get("id"): node for node in page.iter() if node.get("id")}
    figures = list(page.iter("svg"))
    assert {svg.get("id") for svg in figures} == {
        "ledger",
        "ledger-rest",
        "lengths",
        "density",
        "unknown",
    }
    for svg in figures:
        assert svg.get("role") == "img"
        assert all(ids[key].text for key in svg.get("aria-labelledby", "").split())
    for section in page.iter("section"):
        assert len(list(section.iter("svg"))) == 0 or list(section.iter("table"))
    links = [link.get("href", "") for link in page.iter("a")]
    assert links and all(link[1:] in ids for link in links)


def test_the_page_needs_nothing_from_anywhere(account: Account) -> None:
    text = html.page(account)
    for sign in ("http:", "https:", "<script", "src=", "url(", "@import", "<link", "onload"):
        assert sign not in text, sign
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text


def test_the_page_says_that_documents_were_cut() -> None:
    lengths = [make_lengths({7: 3})]
    source = make_source(fates={KEPT: (3, 90)}, characters=30, tokens=20)
    account = make_account(source, train=lengths)
    told = (
        "blocks of 7 tokens are held out",
        "lengths are those of the parts",
        "number of a block",
    )
    whole, parts = (" ".join(html.page(one).split()) for one in (account, cut(account)))
    assert not any(text in whole for text in told) and all(text in parts for text in told)


def test_the_first_numbers_are_those_that_matter_most() -> None:
    fates = {KEPT: (3, 600_000), EMPTY: (1, 400_000)}
    source = make_source("d/a.csv", fates, characters=30, tokens=20)
    page = ElementTree.fromstring(html.page(make_account(source)))
    names = [name.text for name in page.iter("dt")]
    assert dict(zip(names, (value.text for value in page.iter("dd")), strict=True)) == {
        "files": "1",
        "read": "1.00 MB",
        "bytes kept": "60.00 %",
        "documents kept": "75.00 %",
        "documents": "3",
        "tokens": "20",
        "tokens per character": "0.667",
        "rows of 8 tokens": "3",
    }


def test_shards_without_documents_have_a_page_too() -> None:
    page = ElementTree.fromstring(html.page(make_account(make_source(fates={EMPTY: (2, 9)}))))
    assert {svg.get("id") for svg in page.iter("svg")} == {"ledger", "ledger-rest", "density"}
