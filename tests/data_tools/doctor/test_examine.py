"""Everything of interest in a sample, counted by group of files."""

from __future__ import annotations

import pytest

from data_tools.doctor.examine import examine
from data_tools.sources.block import SetAside
from gpt2zh.text.tokenizer import TextTokenizer

from .conftest import make_sample


def test_lost_characters_are_counted_by_what_becomes_of_them(tokenizer: TextTokenizer) -> None:
    texts = ["从前有座山\n山里有座庙", "短 Hello，", "短鱻鱻"]
    found = examine([make_sample("a.csv", texts)], tokenizer)
    lost = {sign: (loss.count, loss.outcome.kind) for sign, loss in found.losses.items()}
    assert lost["\n"] == (1, "vanished") and lost["鱻"] == (2, "unknown")
    (group,) = found.groups
    assert sum(count for count, _ in lost.values()) == group.lost.total()
    assert group.exact == 0 and found.losses["鱻"].place == "a.csv:4"


def test_copies_and_empty_documents_are_counted_over_all_files(tokenizer: TextTokenizer) -> None:
    samples = [
        make_sample("a/1.csv", ["同一篇", "", "同一篇", "座山"]),
        make_sample("b/2.csv", ["  ", "同一篇", "庙里"]),
    ]
    one, two = examine(samples, tokenizer).groups
    assert (one.copies, one.empty, two.copies, two.empty) == (1, 1, 1, 1)
    assert [len(lengths) for lengths in one.characters + two.characters] == [3, 2]
    assert examine(samples, tokenizer).repeated == (3, "同一篇")


def test_texts_that_were_damaged_before_are_counted_once_each(tokenizer: TextTokenizer) -> None:
    texts = ["好好的一篇", "这里锟斤拷了，锟斤拷", "从前\ufffd山", "锟"]
    found = examine([make_sample("a.csv", texts)], tokenizer)
    assert found.groups[0].damaged == 2
    assert found.damage and found.damage[0] == "a.csv:3" and "这里⟦锟⟧斤拷" in found.damage[1]


def test_a_document_too_long_to_compare_at_once_is_compared_in_parts(
    tokenizer: TextTokenizer,
) -> None:
    text = "从前有座山，" * 20_000 + "\n"
    (group,) = examine([make_sample("a.csv", [text])], tokenizer).groups
    assert group.lost == {"\n": 1} and int(group.characters[0][0]) == len(text)


def test_records_set_aside_are_counted_also_without_documents(tokenizer: TextTokenizer) -> None:
    aside = [SetAside(2, "ragged row", "", "", 5)] * 2
    (group,) = examine([make_sample("a.csv", [], aside=aside)], tokenizer).groups
    assert group.set_aside == {"ragged row": 2} and group.characters == [] and group.scale == 0


def test_a_group_is_scaled_by_the_part_of_it_that_was_read(tokenizer: TextTokenizer) -> None:
    samples = [make_sample("1.csv", ["短"] * 5, share=0.25), make_sample("2.csv", ["短"] * 5)]
    one, two = examine(samples, tokenizer).groups
    assert (one.scale, two.scale) == (4, 1) and one.bytes == 60


def test_progress_rises_to_the_end(tokenizer: TextTokenizer) -> None:
    shares: list[float] = []
    samples = [make_sample(f"{name}.csv", ["从前有座山"] * 9) for name in "abc"]
    examine(samples, tokenizer, advance=shares.append)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])
