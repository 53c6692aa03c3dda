"""Compiled passes over the bytes of documents."""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.compiled import compiled


@compiled
def take_documents(
    ids: np.ndarray, counts: np.ndarray, chosen: np.ndarray, out: np.ndarray
) -> None:
    """Copy the tokens of the chosen documents to `out`, which has just their size.

    Args:
        ids: (t,), documents one after the other.
        counts: (n,) int64, tokens of each.
        chosen: (n,) bool.
        out: (tokens of the chosen,), of the type of `ids`.
    """
    begin = 0
    end = 0
    for document in range(len(counts)):
        count = counts[document]
        if chosen[document]:
            out[end : end + count] = ids[begin : begin + count]
            end += count
        begin += count
