"""Clean one block of documents at a time: change the texts, then apply one rule after another.

A document keeps the number of the first rule that drops it; later rules do not see it. Copies of
other documents need the whole input; `data_tools.prepare.decide` finds them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_tools.clean.letters import han_shares
from data_tools.clean.options import CleanConfig
from data_tools.clean.repetition import repetition
from data_tools.clean.rewrite import make_rewrite, rewrite_block
from data_tools.sources.block import Block
from gpt2zh.text.kernels.utf8 import count_characters

Check = Callable[[Block, np.ndarray], np.ndarray]
"""Takes a block and the numbers of some documents, (k,); tells which to drop, (k,) bool."""


class Cleaner:
    """Applies the options to blocks; holds the libraries that they need."""

    rules: tuple[str, ...] = (
        "",
        "too short",
        "too long",
        "repetitive",
        "little Chinese",
        "other language",
    )
    """Names of the rules by number; 0 means that the document stays."""

    def __init__(self, config: CleanConfig) -> None:
        """Load what the options need; `clean_faults` must have accepted them."""
        self._rewrite = make_rewrite(config)
        self._checks = [(self.rules.index(rule), check) for rule, check in _checks(config)]

    def __call__(self, block: Block) -> tuple[Block, np.ndarray]:
        """Return the block with changed texts, and the rule that drops each one, (n,) uint8."""
        if self._rewrite is not None:
            block = rewrite_block(block, self._rewrite)
        dropped_by = np.zeros(len(block), np.uint8)
        for rule, check in self._checks:
            open_rows = np.flatnonzero(dropped_by == 0)
            if len(open_rows):
                dropped_by[open_rows[check(block, open_rows)]] = rule
        return block, dropped_by


def _checks(config: CleanConfig) -> list[tuple[str, Check]]:
    """Return the rules that the options ask for, the cheap ones first."""
    checks: list[tuple[str, Check]] = []
    if config.min_characters > 0:
        checks.append(("too short", lambda b, rows: _lengths(b, rows) < config.min_characters))
    if config.max_characters > 0:
        checks.append(("too long", lambda b, rows: _lengths(b, rows) > config.max_characters))
    if config.max_repetition < 1:
        checks.append(("repetitive", lambda b, rows: _repeated(b, rows) > config.max_repetition))
    if config.min_han > 0:
        checks.append(("little Chinese", lambda b, rows: _han(b, rows) < config.min_han))
    if config.language:
        from data_tools.clean.language import LanguageFilter

        checks.append(("other language", LanguageFilter(config.language)))
    return checks


def _lengths(block: Block, rows: np.ndarray) -> np.ndarray:
    return count_characters(block.data, block.begins[rows], block.ends[rows])


def _repeated(block: Block, rows: np.ndarray) -> np.ndarray:
    return repetition(block.data, block.begins[rows], block.ends[rows])


def _han(block: Block, rows: np.ndarray) -> np.ndarray:
    return han_shares(block.data, block.begins[rows], block.ends[rows])
