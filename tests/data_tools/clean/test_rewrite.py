"""Texts in another Unicode normal form, or with simplified characters."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.clean.options import CleanConfig
from data_tools.clean.rewrite import make_rewrite, rewrite_block
from data_tools.sources.block import Block

from .conftest import ENGLISH, MODERN, make_block


def rewritten(block: Block, **options: object) -> Block:
    rewrite = make_rewrite(CleanConfig(**options))  # type: ignore[arg-type]
    assert rewrite is not None
    return rewrite_block(block, rewrite)


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({"normalise": "nfc"}, "cafe\u0301，ＡＢ\uf900", "café，ＡＢ豈"),
        ({"normalise": "nfkc"}, "cafe\u0301，ＡＢ", "café,AB"),
        (
            {"simplify": True},
            "後來，乾燥的頭髮發展了。cafe\u0301",
            "后来，干燥的头发发展了。cafe\u0301",
        ),
        ({"simplify": True, "normalise": "nfkc"}, "漢語，１", "汉语,1"),
    ],
)
def test_texts_are_changed_where_it_is_asked(options: dict, before: str, after: str) -> None:
    cleaned = rewritten(make_block(["plain", before]), **options)
    assert cleaned.texts() == ["plain", after]


def test_a_changed_block_keeps_documents_lines_sizes_and_what_was_set_aside() -> None:
    block = make_block(["", "e", "\u0301後", "简体"])
    cleaned = rewritten(block, simplify=True, normalise="nfc")
    assert cleaned.texts() == ["", "e", "\u0301后", "简体"]  # no accent joins its neighbour
    assert cleaned.lines is block.lines and cleaned.sizes is block.sizes
    assert cleaned.set_aside == block.set_aside and cleaned.overhead == block.overhead
    assert cleaned.begins.dtype == cleaned.ends.dtype == np.int64


def test_a_block_without_change_comes_back_itself() -> None:
    block = make_block([MODERN, ENGLISH])
    assert rewritten(block, simplify=True, normalise="nfc") is block


def test_options_that_change_no_text_need_no_function() -> None:
    assert make_rewrite(CleanConfig(min_han=0.5, language="zh")) is None


def test_a_text_that_becomes_empty_keeps_its_place() -> None:
    block = make_block(["一", "二", "三"])
    cleaned = rewrite_block(block, lambda text: text.replace("二", ""))
    assert cleaned.texts() == ["一", "", "三"] and cleaned.lines is block.lines
