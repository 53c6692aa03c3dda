"""A text in its own encoding is likelier than the same bytes in another."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.sources.likelihood import code_points, cost, costs, share_common

CHINESE = [
    "你好",
    "次日，武王祭毕。",
    "秦川雄帝宅，函谷壯皇居。",
    "使用python编程",
    "\u00a0\u00a0他说：",
]
OTHERS = [
    "Привет, мир",
    "naïve Café résumé",
    "ελλάδα",
    "日本語のテキスト",
    "한국어 텍스트",
    "😀 ok",
]


def test_characters_of_every_kind_are_kept_also_bad_bytes() -> None:
    text = b"a\xff\0".decode("utf-8", "surrogateescape") + "😀\0"
    assert code_points(text).tolist() == [97, 0xDCFF, 0, 0x1F600, 0]
    assert code_points("").tolist() == [] and cost("") == 0


@pytest.mark.parametrize("text", CHINESE)
def test_chinese_is_likelier_in_its_own_encoding(text: str) -> None:
    for own, other in (("utf-8", "gb18030"), ("gb18030", "utf-8")):
        raw = text.encode(own)
        assert cost(text) + 24 <= cost(raw.decode(other, "surrogateescape"))


@pytest.mark.parametrize("text", OTHERS)
def test_other_scripts_are_likelier_in_utf_8(text: str) -> None:
    assert cost(text) + 8 <= cost(text.encode().decode("gb18030", "replace"))


def test_words_of_one_script_cost_less_than_single_letters() -> None:
    assert cost("мир") < cost("м.и.р") - cost("..")
    assert costs(code_points("été"))[0] < costs(code_points("é"))[0]


def test_a_hanzi_inside_a_latin_word_is_unlikely() -> None:
    bits = costs(code_points("caf茅 茅"))
    assert bits[3] == bits[5] + 10


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("abc\n", 1), ("a\0", 0.5), ("山水", 1), ("鍙堟", 0), ("山\udcff", 0.5)],
)
def test_share_of_common_characters(text: str, share: float) -> None:
    assert share_common(text) == share


def test_cost_of_a_long_text_is_the_sum_of_its_characters() -> None:
    codes = code_points("山水 abc，" * 100)
    assert cost("山水 abc，" * 100) == pytest.approx(float(np.sum(costs(codes))))
