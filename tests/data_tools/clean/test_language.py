"""Documents in other languages than the wanted ones, by py3langid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from data_tools.clean.language import LanguageFilter, known_languages, parse_languages

from .conftest import ENGLISH, JAPANESE, MODERN, POEM, make_block

CLASSICAL = "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？"


def others(texts: Sequence[str], languages: str) -> list[bool]:
    """Return which texts are in another language."""
    found = LanguageFilter(languages)(make_block(texts), np.arange(len(texts)))
    assert found.dtype == bool
    return found.tolist()


def test_other_languages_are_found_and_classical_chinese_is_chinese() -> None:
    texts = [MODERN, CLASSICAL, POEM, "你好", ENGLISH, *JAPANESE, "12345", ""]
    assert others(texts, "zh") == [*[False] * 4, *[True] * 8]
    assert others(texts, "EN, zh") == [*[False] * 5, *[True] * 7]
    assert others(texts, "ja") == [*[True] * 5, *[False] * 5, *[True] * 2]


def test_a_text_without_letters_is_in_no_language() -> None:
    assert others(["123", "😀", ""], "sr") == [True] * 3  # sr: of two scripts


def test_the_language_is_judged_by_the_beginning_of_a_document() -> None:
    assert others([MODERN * 70 + ENGLISH * 1000], "zh") == [False]
    assert others([ENGLISH * 15 + MODERN * 1000], "zh") == [True]


def test_only_the_chosen_documents_are_judged_in_their_order() -> None:
    block = make_block([ENGLISH, MODERN, ENGLISH, JAPANESE[0]])
    assert LanguageFilter("zh")(block, np.array([1, 3])).tolist() == [False, True]
    assert LanguageFilter("zh")(block, np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("text", "codes"),
    [("zh,en", ("zh", "en")), (" ZH , , En,", ("zh", "en")), ("", ()), (" , ", ())],
)
def test_codes_are_split_at_commas_without_space_or_capitals(
    text: str, codes: tuple[str, ...]
) -> None:
    assert parse_languages(text) == codes


def test_the_languages_of_the_help_are_known_to_the_detector() -> None:
    assert {"zh", "wuu", "yue", "en", "ja"} <= set(known_languages())
    assert "zho" not in known_languages()
