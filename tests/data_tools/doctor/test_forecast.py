"""Estimates for a whole corpus from the counts of a sample."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data_tools.doctor.forecast import (
    compute_shares,
    count_documents,
    documents_of,
    make_forecast,
    tokens_of,
    total,
)
from gpt2zh.cost.cards import card_named
from gpt2zh.plan.machine import Machine

from .conftest import LAPTOP, make_examination, make_group


def test_every_document_gets_a_closing_token_and_a_line_in_the_table() -> None:
    found = make_examination(make_group(documents=30))
    expected = make_forecast(found, row_length=8, vocab_size=9, seconds=1.0, machine=LAPTOP)
    assert (expected.documents, expected.characters) == (30, 1500)
    assert expected.tokens == 30 * 51 and expected.rows == 192  # 191.25
    assert expected.disk_bytes == 192 * 8 * 2 + 30 * 16
    assert (expected.config, expected.global_batch, expected.steps) == ("gpt2-tiny", 8, 24)
    large = make_forecast(found, row_length=8, vocab_size=70_000, seconds=1.0, machine=LAPTOP)
    assert large.disk_bytes == 192 * 8 * 4 + 30 * 16


def test_time_grows_with_the_corpus_and_shrinks_with_the_cores() -> None:
    found = make_examination(make_group(read=250))
    two = Machine(0, None, 2)
    assert make_forecast(found, row_length=8, vocab_size=9, seconds=3.0, machine=two).seconds == 6


def test_each_group_counts_by_its_size() -> None:
    found = make_examination(make_group("a", 10, read=100), make_group("b", 10, read=500))
    assert total(found, documents_of) == 10 * 10 + 10 * 2


def test_groups_that_were_not_read_are_taken_for_average() -> None:
    unread = make_group("b", 0, bytes=3000, read=0)
    found = make_examination(make_group("a", 10, read=500), unread)
    assert total(found, documents_of) == 20 * 4
    assert total(make_examination(unread), documents_of) == 0


def test_shares_are_weighted_by_the_size_of_groups() -> None:
    sampled = make_group("a", read=250, copies=10, exact=100, lost=Counter("\n" * 50), partial=100)
    whole = make_group("b", exact=50, damaged=100)
    shares = compute_shares(make_examination(sampled, whole, spelled=Counter("䶮" * 100)), 50)
    assert shares.copies == pytest.approx(40 / 500) and shares.exact == pytest.approx(450 / 500)
    assert shares.damaged == pytest.approx(100 / 500) and shares.lost == pytest.approx(200 / 25_000)
    assert shares.partial == pytest.approx(400 / 25_000)
    assert shares.spelled == pytest.approx(100 / 10_000)  # of the sample, not weighted
    assert shares.tokens_per_character == 1 and shares.row_filling == 1 and shares.short == 0


def test_documents_are_short_below_ten_characters_and_fill_a_row_at_its_length() -> None:
    lengths = [np.array([9, 10]), np.array([11, 50])]
    shares = compute_shares(make_examination(make_group(characters=lengths, tokens=lengths)), 11)
    assert (shares.short, shares.row_filling) == (0.25, 0.5)


def test_a_sample_without_documents_has_no_tokens_and_no_losses() -> None:
    empty = make_group(documents=0)
    shares = compute_shares(make_examination(empty), 8)
    assert shares.lost == shares.exact == shares.copies == 0 and tokens_of(empty) == 0


def test_where_each_file_is_a_document_the_files_are_counted() -> None:
    large = make_group("a", 2, files=6, sampled=2, records=2, read=900)
    small = make_group("b", 1, files=10, sampled=1, records=1, read=10)
    unread = make_group("c", 0, files=11, read=0)
    found = make_examination(large, small, unread)
    assert count_documents(found) == 27 != total(found, documents_of)
    blank = make_group("b", 0, files=10, sampled=1, records=1, read=10)
    assert count_documents(make_examination(large, blank)) == 16 * 2 / 3
    lines = make_group("b", 40, files=10, sampled=1, records=40, read=10)
    found = make_examination(large, lines)
    assert count_documents(found) == total(found, documents_of)


def test_steps_are_those_of_a_config_that_the_machine_can_train() -> None:
    found = make_examination(make_group(documents=30, bytes=1_000_000_000))
    steps = {}
    for machine in (LAPTOP, Machine(1, card_named("RTX 3090"), 8)):
        expected = make_forecast(found, row_length=8, vocab_size=9, seconds=1.0, machine=machine)
        steps[expected.config, expected.global_batch] = expected.steps
        assert expected.steps == -(-expected.rows // expected.global_batch)
    assert steps.keys() == {("gpt2-tiny", 8), ("gpt2-small", 960)}
    few = make_examination(make_group(documents=1))
    assert make_forecast(few, row_length=64, vocab_size=9, seconds=1, machine=LAPTOP).steps == 1
