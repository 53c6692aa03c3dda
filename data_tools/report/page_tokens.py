"""The page's sections about the text: document lengths, tokens per character, unknown text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_tools.report.account import Account
from data_tools.report.lengths import Lengths, joined, log_edges
from data_tools.report.terminal import describe, quantile_head, quantile_row
from gpt2zh.pages.html import Table
from gpt2zh.pages.numbers import count, ratio, share
from gpt2zh.pages.plots import Bar, Bins, Caption, Figure, Panel, bars, histograms, span

_MOST_BARS = 20


@dataclass(frozen=True)
class LengthsSection:
    """How documents and tokens are spread over document lengths."""

    figure: Figure
    numbers: Table
    by_group: Table
    """Quantiles."""


@dataclass(frozen=True)
class Chart:
    """A figure and its numbers."""

    figure: Figure
    numbers: Table


def lengths(account: Account) -> LengthsSection | None:
    """Return how documents and tokens are spread over document lengths; None for no documents."""
    everything = joined(account.lengths)
    if not everything.total:
        return None
    edges = _used_edges(everything)
    documents, tokens = everything.binned(edges)
    length = account.manifest.row_length
    figure = histograms(
        Caption(
            "lengths",
            "Documents and tokens by document length",
            "Two histograms over the number of tokens of a document, two bins for each doubling; a "
            "table below has the numbers.",
        ),
        [
            Panel("Documents", documents.tolist(), "documents"),
            Panel("Tokens", tokens.tolist(), "tokens"),
        ],
        Bins(edges.tolist(), "tokens in the document", "tokens", length, f"row of {length}"),
    )
    rows = [
        quantile_row(group.name, part)
        for group, part in zip(account.groups, account.lengths, strict=True)
    ]
    sums = [quantile_row("all", everything)] if len(rows) != 1 else []
    return LengthsSection(
        figure=figure,
        numbers=_bins(account, edges, documents, tokens),
        by_group=Table(["files", *quantile_head()], [*sums, *rows], sums=range(len(sums))),
    )


def density(account: Account) -> Chart:
    """Return how many tokens a character takes, by group of files."""
    groups = account.groups_with_all
    items = [
        Bar(
            group.name,
            group.tokens / (group.characters or 1),
            ratio(group.tokens, group.characters),
        )
        for group in groups
    ]
    rows = [
        [
            group.name,
            count(group.characters),
            count(group.tokens),
            share(group.tokens, account.all.tokens),
            ratio(group.tokens, group.characters),
        ]
        for group in groups
    ]
    caption = Caption(
        "density",
        "Tokens per character",
        "One bar for each group of files; the table below has the numbers.",
    )
    head = ["files", "characters", "tokens", "%", "tokens/character"]
    sums = range(len(groups) - len(account.groups))
    return Chart(bars(caption, items), Table(head, rows, sums=sums))


def unknown(account: Account) -> Chart | None:
    """Return the texts that became the unknown token most often; None where no text did."""
    items = list(account.manifest.unknown.items())
    if not items:
        return None
    first = [Bar(_labelled(text), number, count(number)) for text, number in items[:_MOST_BARS]]
    caption = Caption(
        "unknown",
        "The texts that became the unknown token most often",
        f"The first {len(first)} of {len(items)}; the table below has all of them.",
    )
    rows = [[text, describe(text), count(number)] for text, number in items]
    return Chart(bars(caption, first), Table(["text", "characters", "times"], rows, left=2))


def _labelled(text: str) -> str:
    """Return a text with its code point where it is one character, which may look like another."""
    return f"{text} U+{ord(text):04X}" if len(text) == 1 else text


def _used_edges(everything: Lengths) -> np.ndarray:
    """Return the edges of the bins from the first to the last that holds a document."""
    edges = log_edges(int(everything.tokens[-1]))
    first = int(np.searchsorted(edges, everything.tokens[0], side="right")) - 1
    return edges[first:]


def _bins(account: Account, edges: np.ndarray, documents: np.ndarray, tokens: np.ndarray) -> Table:
    held, _ = joined(account.validation).binned(edges)
    bins = zip(edges[:-1].tolist(), (edges[1:] - 1).tolist(), strict=True)
    rows = [
        [
            span(low, high),
            count(int(documents[number])),
            share(int(documents[number]), int(documents.sum())),
            count(int(held[number])),
            count(int(tokens[number])),
            share(int(tokens[number]), int(tokens.sum())),
        ]
        for number, (low, high) in enumerate(bins)
    ]
    head = ["tokens in the document", "documents", "%", "of them held out", "tokens", "%"]
    return Table(head, rows)
