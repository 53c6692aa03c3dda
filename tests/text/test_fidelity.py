"""What a tokenizer cannot write back: which characters, and what becomes of them."""

from __future__ import annotations

import random
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from gpt2zh.text.fidelity import Outcome, RoundTrip, RoundTripLoss, find_gaps
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


@pytest.fixture
def tiny(tiny_vocab: Path) -> TextTokenizer:
    return load_tokenizer(tiny_vocab)


def lost(tokenizer: TextTokenizer, text: str) -> RoundTripLoss:
    return RoundTrip(tokenizer).compare(text, tokenizer.encode(text))


@pytest.mark.parametrize(
    ("text", "written", "expected"),
    [
        ("今天", "今天", []),
        ("a b", "ab", [([1], "")]),
        ("HEllO", "hello", [([0, 1], "he"), ([4], "o")]),
        ("3.14", "3. 14", [([], " ")]),
        ("", "x", [([], "x")]),
        ("xy", "", [([0, 1], "")]),
        ("a  b c", "a b  c", [([2], ""), ([], " ")]),
        (" x ", "x", [([0], ""), ([2], "")]),
        ("文 [A]", "文[ a ]", [([1], ""), ([3], "a"), ([], "  ")]),
        ("步 2: #", "步2 : #", [([1], ""), ([], " ")]),
    ],
)
def test_texts_are_aligned(text: str, written: str, expected: list) -> None:
    assert list(find_gaps(text, written)) == expected


def test_alignments_account_for_every_character() -> None:
    rng = random.Random(2)
    for _ in range(300):
        text, written = ("".join(rng.choices("ab  c龘", k=rng.randrange(20))) for _ in range(2))
        found = list(find_gaps(text, written))
        lost = sorted(position for positions, _ in found for position in positions)
        added = Counter("".join(instead for _, instead in found))
        assert len(set(lost)) == len(lost)
        kept = Counter(text) - Counter(text[position] for position in lost)
        assert kept + added == Counter(written)


def test_each_lost_character_has_its_outcome(tiny: TextTokenizer) -> None:
    loss = lost(tiny, "今天\n你H龘 好")
    assert loss.positions == (2, 4, 5, 6)
    kinds = [outcome.kind for outcome in loss.outcomes]
    assert kinds == ["vanished", "unknown", "unknown", "vanished"]
    assert lost(tiny, "Hello，").outcomes == (Outcome("changed", "h"),)


def test_a_character_is_lost_with_its_word(tiny: TextTokenizer) -> None:
    """By itself `a` comes back; a word of more than a hundred letters does not."""
    loss = lost(tiny, "好" + "a" * 150)
    assert len(loss.positions) == 150 and {outcome.kind for outcome in loss.outcomes} == {"unknown"}


def test_spaces_that_the_text_does_not_have_are_counted(tiny: TextTokenizer) -> None:
    assert lost(tiny, "hello/world") == RoundTripLoss((), (), 2)


def test_a_lossless_tokenizer_loses_nothing() -> None:
    assert lost(load_tokenizer("builtin"), "今天 Hello\n“龘”😀") == RoundTripLoss((), (), 0)


def test_what_stands_in_place_of_a_lost_character_is_not_added(tiny: TextTokenizer) -> None:
    assert lost(tiny, "Hello World").added == 0


def test_every_lost_character_has_one_outcome_though_fewer_are_written_instead(
    tiny: TextTokenizer,
) -> None:
    loss = lost(tiny, "好鱻Hello")
    assert loss.positions == (1, 2) and len(loss.outcomes) == 2


class Forgetful:
    """Encodes characters as themselves and writes no character twice in a row."""

    unk_id = None

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(character for character, _ in groupby(map(chr, ids)))


def test_what_only_neighbours_explain_has_vanished() -> None:
    assert lost(Forgetful(), "高高兴兴").outcomes == (Outcome("vanished", ""),) * 2
