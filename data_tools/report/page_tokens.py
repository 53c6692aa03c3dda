"""The page's sections about the text: lengths of documents, tokens per character, unknown texts."""

from __future__ import annotations

import numpy as np

from data_tools.report import plots
from data_tools.report.account import Account
from data_tools.report.figures import count, ratio, share
from data_tools.report.lengths import Lengths, joined, log_edges
from data_tools.report.markup import Markup, element, folded, table
from data_tools.report.terminal import describe, quantile_head, quantile_row

_MOST_BARS = 20


def lengths(account: Account) -> list[Markup]:
    """Show how documents and tokens are spread over the lengths of documents."""
    everything = joined(account.lengths)
    if not everything.total:
        return [element("p", "There is no document.")]
    edges = _used_edges(everything)
    documents, tokens = everything.binned(edges)
    length = account.manifest.row_length
    figure = plots.histogram(
        "Documents and tokens by the length of the document",
        "Histograms over the tokens of a document, two bins to each doubling; the numbers are in a "
        "table below.",
        [
            plots.Panel("documents, by their tokens", documents.tolist(), "documents"),
            plots.Panel("tokens, by the tokens of their document", tokens.tolist(), "tokens"),
        ],
        edges=edges.tolist(),
        axis="tokens of a document",
        line=length,
        line_name=f"row of {length}",
        key="lengths",
    )
    rows = [
        quantile_row(g.name, part) for g, part in zip(account.groups, account.lengths, strict=True)
    ]
    if len(rows) != 1:
        rows.insert(0, quantile_row("all", everything))
    return [
        element(
            "p",
            "The closing token of a document counts as one of its own."
            if account.manifest.packing == "full"
            else "Without the tokens that the packing puts around a chunk.",
        ),
        figure,
        folded("The numbers of the plot", _bins(account, edges, documents, tokens)),
        element("h3", "Tokens of a document, by files"),
        table(["files", *quantile_head()], rows, sums="all"),
    ]


def density(account: Account) -> list[Markup]:
    """Show how many tokens a character takes, by group of files."""
    groups = [*([account.all] if len(account.groups) != 1 else []), *account.groups]
    bars = [
        plots.Bar(
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
    return [
        element(
            "p",
            "With fewer tokens per character more text fits a row. Files far above the others hold "
            "text that the tokenizer was not made for.",
        ),
        plots.bars(
            "Tokens per character",
            "One bar for each group of files; the table below has the numbers.",
            bars,
            key="density",
        ),
        table(["files", "characters", "tokens", "%", "tokens/character"], rows, sums="all"),
    ]


def unknown(account: Account) -> list[Markup]:
    """Show the texts that most often became the unknown token."""
    items = list(account.manifest.unknown.items())
    if not items:
        return [element("p", "None: every text that was kept has ids of its own.")]
    bars = [
        plots.Bar(f"{text} {describe(text)}", number, count(number))
        for text, number in items[:_MOST_BARS]
    ]
    rows = [[text, describe(text), count(number)] for text, number in items]
    return [
        element(
            "p",
            "The model sees one and the same token for all of these, and cannot write them.",
        ),
        plots.bars(
            "The texts that most often became the unknown token",
            f"The first {len(bars)} of {len(items)}; the table below has all of them.",
            bars,
            key="unknown",
        ),
        folded(
            f"All {len(items)} texts",
            table(["text", "characters", "how often"], rows, left=2),
        ),
    ]


def _used_edges(everything: Lengths) -> np.ndarray:
    """Return the edges of the bins from the first to the last that holds a document."""
    edges = log_edges(int(everything.tokens[-1]))
    first = int(np.searchsorted(edges, everything.tokens[0], side="right")) - 1
    return edges[first:]


def _bins(account: Account, edges: np.ndarray, documents: np.ndarray, tokens: np.ndarray) -> Markup:
    held, _ = joined(account.validation).binned(edges)
    rows = []
    for number, (low, high) in enumerate(
        zip(edges[:-1].tolist(), (edges[1:] - 1).tolist(), strict=True)
    ):
        rows.append(
            [
                count(low) if low == high else f"{count(low)} to {count(high)}",
                count(int(documents[number])),
                share(int(documents[number]), int(documents.sum())),
                count(int(held[number])),
                count(int(tokens[number])),
                share(int(tokens[number]), int(tokens.sum())),
            ]
        )
    head = ["tokens of a document", "documents", "%", "of them held out", "tokens", "%"]
    return table(head, rows)
