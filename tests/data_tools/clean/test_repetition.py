from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from data_tools.clean import repetition as module
from data_tools.clean.repetition import RUN, repetition

from .conftest import make_block

NUMBERS = "".join(map(chr, range(0x4E00, 0x4E00 + 500)))  # 500 different characters


def shares(texts: Sequence[str]) -> list[float]:
    block = make_block(texts)
    return repetition(block.data, block.begins, block.ends).tolist()


def plain_share(text: str) -> float:
    """Say the definition again, slowly: the larger share of characters in repeated lines, runs."""
    size = sum(not sign.isspace() for sign in text)
    lines, in_lines = set(), 0
    for line in text.split("\n"):
        units = tuple(_units(line))
        if units and units in lines:
            in_lines += sum(map(len, units))
        lines.add(units)
    units = [unit for line in text.split("\n") for unit in _units(line)]
    marked, runs = [False] * len(units), set()
    for begin in range(len(units) - RUN + 1):
        run = tuple(units[begin : begin + RUN])
        if run in runs:
            marked[begin : begin + RUN] = [True] * RUN
        runs.add(run)
    in_runs = sum(len(unit) for unit, mark in zip(units, marked, strict=True) if mark)
    return max(in_lines, in_runs) / max(size, 1)


def _units(line: str) -> list[str]:
    units = [""]
    for sign in line:
        if sign.isspace():
            units.append("")
        elif sign.isascii() and (not units[-1] or units[-1].isascii()):
            units[-1] += sign
        else:
            units.append(sign)
    return [unit for unit in units if unit]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        (" \n\n ", 0),
        (NUMBERS, 0),
        (NUMBERS[:40] * 2, 0.5),
        (NUMBERS[:40] * 4, 0.75),
        (NUMBERS[:40] + "\n  " + NUMBERS[:40], 0.5),
        ("哈" * 100, 0.99),
        ("甲乙丙\n" * 10, 0.9),
        (f"{NUMBERS[:12]}\n甲乙\n{NUMBERS[20:32]}\n甲乙", 2 / 28),  # a short line, not a run
        (NUMBERS[:9] + "，" + NUMBERS[:9], 0),  # one less than a run
        ("甲乙丙丁" * 3, 0),  # three runs, all unlike
        ("甲乙丙丁" * 4, 0.75),
        ("see https://example.org/a " * 5, 0),  # ten units: one run
        ("see https://example.org/a " * 10, 0.9),
    ],
)
def test_the_share_that_repeats_is_measured(text: str, share: float) -> None:
    assert shares([text]) == pytest.approx([plain_share(text)])
    assert plain_share(text) == pytest.approx(share)


def test_it_equals_the_definition_on_random_texts() -> None:
    generator = np.random.default_rng(5)
    signs = ["甲", "乙", "丙", "é", "😀", "\n", "\n\n", " ", "ab ", "x", "\u3000", "\r\n"]
    texts = []
    for _ in range(300):
        pieces = ["".join(generator.choice(signs, generator.integers(1, 30))) for _ in range(4)]
        texts.append("".join(generator.choice(pieces, generator.integers(1, 8))))
    found = shares(texts)
    assert found == pytest.approx([plain_share(text) for text in texts])
    assert sum(share > 0.3 for share in found) > 50 and sum(share < 0.3 for share in found) > 50


def test_documents_of_a_block_do_not_know_each_other() -> None:
    text = NUMBERS[:40] + "\n" + NUMBERS[40:80]
    assert shares([text] * 5) == [0] * 5
    assert shares(["哈" * 20, text, "哈" * 20, "", text]) == pytest.approx([0.95, 0, 0.95, 0, 0])


def test_only_the_beginning_of_a_huge_document_is_judged() -> None:
    unlike = "".join(
        chr(0x4E00 + number // 5000) + chr(0x4E00 + number % 5000) for number in range(200_000)
    )
    judged = unlike[: module.LIMIT // 3]
    (share,) = shares([judged + "哈" * 500_000])
    assert share == pytest.approx(plain_share(judged), abs=1e-3)
