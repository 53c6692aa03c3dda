from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from data_tools.clean.cleaner import Cleaner
from data_tools.clean.options import CleanConfig

from .conftest import ENGLISH, JAPANESE, MODERN, POEM, make_block


def rules(texts: Sequence[str], **options: object) -> list[str]:
    """Return the rule that drops each text, empty where it stays."""
    _, numbers = Cleaner(CleanConfig(**options))(make_block(texts))  # type: ignore[arg-type]
    assert numbers.dtype == np.uint8
    return [Cleaner.rules[number] for number in numbers]


def test_by_default_the_block_itself_comes_back_and_all_stay() -> None:
    block = make_block([MODERN, "", "哈" * 100, ENGLISH])
    cleaned, numbers = Cleaner(CleanConfig())(block)
    assert cleaned is block and numbers.tolist() == [0, 0, 0, 0]
    assert Cleaner.rules[0] == ""


def test_short_and_long_documents_are_dropped_by_characters_not_bytes() -> None:
    texts = ["", "abc", "三个字", "𠀀四个字", "😀é五个字", "six 字六"]
    assert rules(texts, min_characters=4) == ["too short"] * 3 + [""] * 3
    assert rules(texts, max_characters=4) == [""] * 4 + ["too long"] * 2
    assert rules(texts, min_characters=4, max_characters=4) == [
        *["too short"] * 3,
        "",
        *["too long"] * 2,
    ]


def test_documents_with_little_chinese_are_dropped() -> None:
    texts = [MODERN, ENGLISH, "用 Python 写", "一二ab", "12345", *JAPANESE]
    few = "little Chinese"
    assert rules(texts, min_han=0.5)[:5] == ["", few, few, "", few]
    assert rules(texts, min_han=0.7) == ["", few, few, few, few, *[few] * 5]


def test_repetitive_documents_are_dropped() -> None:
    assert rules([MODERN, MODERN * 9, POEM], max_repetition=0.5) == ["", "repetitive", ""]


def test_the_first_rule_that_drops_a_document_is_told() -> None:
    texts = ["哈" * 30, "啊", "ha " * 30, ENGLISH]
    options = {"min_characters": 5, "max_repetition": 0.5, "min_han": 0.5, "language": "zh"}
    assert rules(texts, **options) == ["repetitive", "too short", "repetitive", "little Chinese"]


def test_every_rule_has_a_number_of_its_own() -> None:
    assert len(set(Cleaner.rules)) == len(Cleaner.rules) == 6


def test_rules_judge_the_changed_text() -> None:
    assert rules(["e\u0301e\u0301"], normalise="nfc", max_characters=2) == [""]
    assert rules(["e\u0301e\u0301"], max_characters=2) == ["too long"]


def test_a_block_without_documents_goes_through() -> None:
    options = {
        "normalise": "nfkc",
        "simplify": True,
        "min_characters": 1,
        "max_repetition": 0.1,
        "min_han": 0.1,
        "language": "zh",
    }
    cleaned, numbers = Cleaner(CleanConfig(**options))(make_block([]))
    assert len(cleaned) == len(numbers) == 0


@pytest.mark.parametrize(
    "corpus",
    [
        "pretrain_csv/poetry/part-001.csv",
        "lyrics_zh/lyrics.csv",
        "pretrain_csv/classical_books/part-003.csv",
    ],
)
@pytest.mark.slow
def test_recommended_values_spare_real_poems_and_classical_texts(
    read_corpus: Callable[[str, int], list[str]], corpus: str
) -> None:
    texts = [text for text in read_corpus(corpus, 1500) if len(text) > 9]  # some are but a mark
    dropped = rules(texts, max_repetition=0.3, min_han=0.7, language="zh")
    assert len(texts) > 1000 and sum(map(bool, dropped)) < len(texts) / 100
