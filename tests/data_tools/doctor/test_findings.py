"""Conclusions: what is wrong, how serious it is, and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data_tools.doctor.findings import (
    MINOR,
    MODERATE,
    SERIOUS,
    draw_conclusions,
    lost_families,
    lost_shares,
    percentiles,
)
from data_tools.sources.block import SetAside

from .conftest import make_examination, make_group, make_sample, quiet_facts


def test_a_corpus_without_fault_has_no_finding() -> None:
    assert draw_conclusions(quiet_facts()) == []


@pytest.mark.parametrize(
    ("share", "value", "weight", "text"),
    [
        ("lost", 0.0009, MODERATE, "tiny cannot write back 0.090 % of the characters"),
        ("lost", 0.001, SERIOUS, "cannot write back"),
        ("added", 0.0001, MODERATE, "adds characters that the text does not have"),
        ("tokens_per_character", 1.31, SERIOUS, "needs 1.31 tokens per character"),
        ("spelled", 0.01, MODERATE, "spelled in bytes, such as 䶮"),
        ("copies", 0.005, MINOR, "equal an earlier one, 4 are '同一篇'"),
        ("copies", 0.05, MODERATE, "equal an earlier one"),
        ("damaged", 0.001, MODERATE, "decoded wrongly by an earlier program, such as a.csv:3: 锟"),
        ("damaged", 0.05, SERIOUS, "decoded wrongly"),
        ("short", 0.05, MINOR, "have fewer than 10 characters"),
        ("short", 0.3, MODERATE, "have fewer than 10 characters"),
    ],
)
def test_a_share_is_reported_from_its_limit_on(
    share: str, value: float, weight: int, text: str
) -> None:
    found = make_examination(
        make_group(), spelled=Counter("䶮"), damage=("a.csv:3", "锟"), repeated=(4, "同一篇")
    )
    (finding,) = draw_conclusions(quiet_facts(found, **{share: value}))
    assert finding.weight == weight and text in finding.text and finding.cure


@pytest.mark.parametrize(
    ("share", "below"),
    [
        ("lost", 0),
        ("tokens_per_character", 1.3),
        ("added", 9e-5),
        ("spelled", 0.009),
        ("copies", 0.004),
        ("damaged", 9e-4),
        ("short", 0.04),
    ],
)
def test_a_share_below_its_limit_is_not_reported(share: str, below: float) -> None:
    found = make_examination(make_group(), damage=("a.csv:3", "锟"), repeated=(4, "同一篇"))
    assert draw_conclusions(quiet_facts(found, **{share: below})) == []


def test_only_a_wordpiece_can_be_repaired() -> None:
    facts = quiet_facts(lost=0.1)
    for is_wordpiece in (False, True):
        (finding,) = draw_conclusions(replace(facts, is_wordpiece=is_wordpiece))
        assert ("--repair DIR" in finding.cure) == is_wordpiece


def test_the_builtin_tokenizer_is_not_its_own_cure() -> None:
    for shares in ({"tokens_per_character": 2.0}, {"lost": 0.1}):
        facts = quiet_facts(**shares)
        (other,) = draw_conclusions(facts)
        assert other.cure.startswith("use --tokenizer builtin")
        (finding,) = draw_conclusions(replace(facts, tokenizer="builtin"))
        assert finding.cure == "train one on your own texts: python -m data_tools train-tokenizer"


def test_few_steps_and_a_large_vocabulary_are_reported() -> None:
    weights = {99: MODERATE, 100: MINOR, 999: MINOR}
    for steps, weight in weights.items():
        (finding,) = draw_conclusions(quiet_facts(steps=steps))
        assert finding.weight == weight and f"only {steps} steps per epoch" in finding.text
    assert draw_conclusions(quiet_facts(vocab_size=65_535)) == []
    (finding,) = draw_conclusions(quiet_facts(vocab_size=65_536))
    assert "65536 ids need four bytes" in finding.text


def test_one_odd_encoding_is_reported_with_its_beginning() -> None:
    samples = [
        make_sample("a.csv", ["文"]),
        make_sample("b.csv", ["文"], encoding="utf-8-sig"),
        make_sample("odd.csv", ["从前有座山"], encoding="gb18030"),
    ]
    (finding,) = draw_conclusions(replace(quiet_facts(), samples=samples))
    assert "1 of 3 files is not utf-8 like the others" in finding.text
    assert "/in/odd.csv (gb18030): 从前有座山" in finding.text and "--encoding" in finding.cure


@pytest.mark.parametrize(("texts", "weight"), [(164, SERIOUS), (165, MINOR)])
def test_records_set_aside_weigh_by_bytes_and_the_first_is_named(texts: int, weight: int) -> None:
    group = make_group(documents=1, set_aside=Counter({"ragged row": 1}))
    aside = [SetAside(7, "ragged row", "3 fields", "", 5)]
    samples = [make_sample("a.csv", ["文"] * texts), make_sample("b.csv", [], aside=aside)]
    facts = replace(quiet_facts(make_examination(group)), samples=samples)
    (finding,) = draw_conclusions(facts)
    assert finding.weight == weight and "1 ragged row" in finding.text
    assert "the first of each:\n  ragged row (1): /in/b.csv:7: 3 fields -> put" in finding.text


def test_long_and_empty_documents_are_reported() -> None:
    group = make_group(characters=[np.array([100_000, 100_001, 200_000])], empty=1)
    long, empty = draw_conclusions(quiet_facts(make_examination(group)))
    assert "characters in the sample: 2, the longest 200000" in long.text
    assert empty.text == "25.0 % of the records are empty"
    few = make_group(documents=100, empty=1)
    assert draw_conclusions(quiet_facts(make_examination(few))) == []


def test_findings_begin_with_the_weightiest_then_with_the_largest_share() -> None:
    found = make_examination(make_group(), repeated=(2, "文"))
    facts = quiet_facts(found, short=0.1, copies=0.04, lost=0.5, added=0.2, steps=50)
    order = [(finding.weight, finding.share) for finding in draw_conclusions(facts)]
    assert order == [(3, 0.5), (2, 0.2), (2, 0.0), (1, 0.1), (1, 0.04)]


def test_lost_characters_are_weighted_by_the_size_of_their_group() -> None:
    one = make_group("a", read=100, lost=Counter({"\n": 10, "A": 1}))
    two = make_group("b", lost=Counter({"A": 50, "B": 5}))
    found = make_examination(one, two)
    assert lost_shares(found) == pytest.approx(
        {"\n": 100 / 55_000, "A": 60 / 55_000, "B": 5 / 55_000}
    )
    assert list(lost_shares(found)) == ["\n", "A", "B"]
    assert lost_families(found)[0][0] == "line breaks"
    assert lost_families(found)[1] == ("capitals", pytest.approx(65 / 55_000))


def test_percentiles_are_those_of_all_parts_together() -> None:
    assert percentiles([np.array([1, 9]), np.array([5])], (0, 50, 100)) == [1, 5, 9]
    assert percentiles([], (1, 99)) == [0, 0]
