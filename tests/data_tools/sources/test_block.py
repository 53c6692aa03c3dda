"""A block holds documents as spans of one buffer."""

from __future__ import annotations

import numpy as np

from data_tools.sources.block import Block, SetAside, join_spans, make_empty_block

TEXTS = ["山水", "", "abc", "\U0001f600"]


def test_documents_come_back_as_strings() -> None:
    data, begins, ends = join_spans([text.encode() for text in TEXTS])
    numbers = np.arange(len(TEXTS))
    block = Block(data, begins, ends, numbers, numbers)
    assert len(block) == 4 and block.texts() == TEXTS
    assert [block.text(number) for number in range(4)] == TEXTS


def test_an_empty_block_still_accounts_for_its_bytes() -> None:
    aside = SetAside(line=1, reason="r", detail="d", excerpt="e", size=3)
    block = make_empty_block(aside, overhead=5)
    assert len(block) == 0 and block.texts() == [] and block.overhead == 5
    assert block.set_aside == (aside,)
    assert [part.tolist() for part in join_spans([])] == [[], [], []]
