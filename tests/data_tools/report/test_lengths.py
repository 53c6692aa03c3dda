"""Lengths of documents, binned for the plots of a report."""

from __future__ import annotations

import numpy as np

from data_tools.report.lengths import Lengths, joined, log_edges


def test_lengths_are_binned_exactly_from_none_to_the_longest() -> None:
    edges = log_edges(1000)
    assert edges[:12].tolist() == [0, 1, 2, 3, 4, 6, 8, 12, 16, 23, 32, 46]
    assert edges[-2] <= 1000 < edges[-1]
    lengths = Lengths(np.array([0, 3, 1000]), np.array([2, 1, 5]))
    documents, tokens = lengths.binned(edges)
    assert (documents[0], documents[3], documents[-1]) == (2, 1, 5) and documents.sum() == 8
    assert (tokens[0], tokens[3], tokens[-1]) == (0, 3, 5000) and tokens.sum() == 5003


def test_quantiles_are_lengths_that_occur() -> None:
    one = Lengths(np.array([1, 2]), np.array([1, 1]))
    both = joined([one, Lengths(np.array([2, 9]), np.array([1, 7]))])
    assert (both.tokens.tolist(), both.documents.tolist()) == ([1, 2, 9], [1, 2, 7])
    assert [both.quantile(part) for part in (0.01, 0.1, 0.3, 0.31, 1)] == [1, 1, 2, 9, 9]
