"""A stream hands on the tokens of rows that have not ended, and no stop ids."""

from __future__ import annotations

import torch

from gpt2zh.generation.stepping import TokenStream


def test_each_row_ends_at_its_limit_or_its_stop_id() -> None:
    seen: list[tuple[int, list[int]]] = []
    stream = TokenStream([1, 3, 3], [0], lambda row, ids: seen.append((row, ids)))
    stream.put(torch.tensor([[7, 7], [7, 7], [7, 7]]))  # the prompts
    for tokens in ([1, 2, 3], [4, 0, 5], [6, 8, 9]):
        stream.put(torch.tensor(tokens))
    stream.end()
    assert seen == [(0, [1]), (1, [2]), (2, [3]), (2, [5]), (2, [9])]
