"""Estimates for a whole corpus from the counts of a sample."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data_tools.doctor.forecast import (
    compute_shares,
    documents_of,
    make_forecast,
    tokens_of,
    total,
)
from gpt2zh.config.schema import TrainConfig

from .conftest import make_examination, make_group


def test_every_document_gets_a_closing_token_and_a_line_in_the_table() -> None:
    found = make_examination(make_group(documents=30))
    expected = make_forecast(found, row_length=8, vocab_size=9, seconds=1.0, cores=1)
    assert (expected.documents, expected.characters) == (30, 1500)
    assert expected.tokens == 30 * 51 and expected.rows == 192  # 191.25
    assert expected.disk_bytes == 192 * 8 * 2 + 30 * 16
    assert expected.steps == -(-192 // TrainConfig().global_batch)
    large = make_forecast(found, row_length=8, vocab_size=70_000, seconds=1.0, cores=1)
    assert large.disk_bytes == 192 * 8 * 4 + 30 * 16


def test_time_grows_with_the_corpus_and_shrinks_with_the_cores() -> None:
    found = make_examination(make_group(read=250))
    assert make_forecast(found, row_length=8, vocab_size=9, seconds=3.0, cores=2).seconds == 6


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
