from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from data_tools.clean.cleaner import Cleaner
from data_tools.clean.options import CleanConfig

from .conftest import make_block

MODERN = "今天天气真好，我们去公园玩吧。"
CLASSICAL = "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？"
POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
ENGLISH = "The quick brown fox jumps over the lazy dog, as every typist knows."
JAPANESE = (
    "これは日本語の文章です。今日はとても良い天気ですね。",
    "東京都は日本の首都である。",
    "私は昨日、図書館で本を三冊借りました。",
    "日本国憲法は、日本の最高法規である。",
    "彼女は大学で経済学を専攻しています。",
)


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


def test_other_languages_are_dropped_and_classical_chinese_is_chinese() -> None:
    texts = [MODERN, CLASSICAL, POEM, "你好", ENGLISH, *JAPANESE, "12345", ""]
    other = "other language"
    assert rules(texts, language="zh") == [*[""] * 4, *[other] * 8]
    assert rules(texts, language="EN, zh") == [*[""] * 5, *[other] * 7]
    assert rules(texts, language="ja") == [*[other] * 5, *[""] * 5, *[other] * 2]


def test_a_text_without_letters_is_in_no_language() -> None:
    assert rules(["123", "😀", ""], language="sr") == ["other language"] * 3  # sr: of two scripts


def test_the_language_is_judged_by_the_beginning_of_a_document() -> None:
    assert rules([MODERN * 70 + ENGLISH * 1000], language="zh") == [""]
    assert rules([ENGLISH * 15 + MODERN * 1000], language="zh") == ["other language"]


def test_the_first_rule_that_drops_a_document_is_told() -> None:
    texts = ["哈" * 30, "啊", "ha " * 30, ENGLISH]
    options = {"min_characters": 5, "max_repetition": 0.5, "min_han": 0.5, "language": "zh"}
    assert rules(texts, **options) == ["repetitive", "too short", "repetitive", "little Chinese"]


def test_every_rule_has_a_number_of_its_own() -> None:
    assert len(set(Cleaner.rules)) == len(Cleaner.rules) == 6


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
    cleaned, _ = Cleaner(CleanConfig(**options))(make_block(["plain", before]))
    assert cleaned.texts() == ["plain", after]


def test_a_changed_block_keeps_documents_lines_sizes_and_what_was_set_aside() -> None:
    block = make_block(["", "e", "\u0301後", "简体"])
    cleaned, _ = Cleaner(CleanConfig(simplify=True, normalise="nfc"))(block)
    assert cleaned.texts() == ["", "e", "\u0301后", "简体"]  # no accent joins its neighbour
    assert cleaned.lines is block.lines and cleaned.sizes is block.sizes
    assert cleaned.set_aside == block.set_aside and cleaned.overhead == block.overhead
    assert cleaned.begins.dtype == cleaned.ends.dtype == np.int64


def test_a_block_without_change_comes_back_itself() -> None:
    block = make_block([MODERN, ENGLISH])
    assert Cleaner(CleanConfig(simplify=True, normalise="nfc"))(block)[0] is block


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
def test_recommended_values_spare_real_poems_and_classical_texts(
    read_corpus: Callable[[str, int], list[str]], corpus: str
) -> None:
    texts = [text for text in read_corpus(corpus, 1500) if len(text) > 9]  # some are but a mark
    dropped = rules(texts, max_repetition=0.3, min_han=0.7, language="zh")
    assert len(texts) > 1000 and sum(map(bool, dropped)) < len(texts) / 100
