"""Decisions over all drafts: which documents are copies of others."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.prepare.formats import IS_EXACT, IS_NEAR, STAYS, write_decisions
from gpt2zh.config.errors import UserError

from ..conftest import is_validation
from .conftest import Begin, long_text

TEXTS = ["从前有座山", "短", "从前有座山", "山里有座庙"]


def test_all_but_the_first_of_equal_documents_go_also_in_another_unit(begin: Begin) -> None:
    work = begin(TEXTS, ["短", "第二行"], unit_bytes=1).draft().decide()
    one, two = [[], [STAYS], [STAYS], [IS_EXACT], [STAYS]], [[], [IS_EXACT], [STAYS]]
    assert work.decisions() == [*one, *two]


def test_copies_stay_where_it_is_asked(begin: Begin) -> None:
    assert begin(TEXTS, exact_duplicates="keep").draft().decide().decisions() == [[STAYS] * 4]


def test_nearly_equal_documents_go_and_a_copy_is_called_a_copy(begin: Begin) -> None:
    text = long_text(0)
    texts = [text, text + "。", text, long_text(1)]
    work = begin(texts, near_duplicates="drop").draft().decide()
    assert work.decisions() == [[STAYS, IS_NEAR, IS_EXACT, STAYS]]


def test_decisions_that_are_complete_are_left_alone(begin: Begin) -> None:
    work = begin(TEXTS).draft()
    codes = np.array([STAYS, IS_NEAR, STAYS, STAYS], np.uint8)
    write_decisions(work.plan, work.folder, codes, {0: 0})
    assert work.decide().decisions() == [codes.tolist()]


def test_old_documents_stay_and_their_copies_go(begin: Begin) -> None:
    base = begin(TEXTS).finish()
    work = begin(["短", "第二行", "第二行"], base=base).draft().decide()
    assert work.decisions() == [[IS_EXACT, STAYS, IS_EXACT]]


def test_old_shards_without_keys_cannot_take_near_duplicates(begin: Begin) -> None:
    base = begin(TEXTS).finish()
    work = begin(TEXTS, base=base, near_duplicates="drop").draft()
    with pytest.raises(UserError, match=r"out holds no keys.*--near-duplicates keep"):
        work.decide()


def test_new_documents_near_old_ones_of_the_other_split_go(begin: Begin) -> None:
    texts = [long_text(seed) for seed in range(10)]
    options = {"near_duplicates": "validation", "validation_fraction": 0.5}
    base = begin(texts, **options).finish()
    work = begin([text + "。" for text in texts], base=base, **options).draft().decide()
    held = [(is_validation(text, 0.5), is_validation(text + "。", 0.5)) for text in texts]
    assert work.decisions() == [[IS_NEAR if old != new else STAYS for old, new in held]]
    assert len(set(held)) == 4  # every way across and along
