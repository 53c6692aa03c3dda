"""Change texts: Unicode normal forms, and traditional characters to simplified ones."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable
from typing import Literal

from data_tools.clean.options import CleanConfig
from data_tools.sources.block import Block, join_spans

Rewrite = Callable[[str], str]
_FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}


def make_rewrite(config: CleanConfig) -> Rewrite | None:
    """Return the function that changes a text as the options say; None if they change nothing."""
    form = _FORMS.get(config.normalise)
    simplify = _simplifier() if config.simplify else None

    def rewrite(text: str) -> str:
        if form:
            text = unicodedata.normalize(form, text)
        return simplify(text) if simplify else text

    return rewrite if form or simplify else None


def rewrite_block(block: Block, rewrite: Rewrite) -> Block:
    """Return the block with changed texts; lines and sizes stay those of the input."""
    old = block.texts()
    new = [text if text.isascii() else rewrite(text) for text in old]  # ASCII is in every form
    if new == old:
        return block
    data, begins, ends = join_spans([text.encode() for text in new])
    return dataclasses.replace(block, data=data, begins=begins, ends=ends)


def _simplifier() -> Rewrite:
    from opencc import OpenCC

    convert: Rewrite = OpenCC("t2s").convert
    return convert
