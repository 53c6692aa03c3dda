"""Decisions over all drafts: which documents are copies of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_tools.prepare.formats import IS_EXACT, IS_NEAR, STAYS, write_decisions
from data_tools.shards.near_table import NEAR_TABLE, is_near_table
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import read_manifest

from ..conftest import is_validation
from .conftest import Begin, Work, long_text

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


def test_old_shards_without_signatures_cannot_take_near_duplicates(begin: Begin) -> None:
    base = begin(TEXTS).finish()
    work = begin(TEXTS, base=base, near_duplicates="drop").draft()
    with pytest.raises(UserError, match=r"out holds no signatures.*--near-duplicates keep"):
        work.decide()


def test_new_documents_near_old_ones_of_the_other_split_go(begin: Begin) -> None:
    texts = [long_text(seed) for seed in range(10)]
    options = {"near_duplicates": "validation", "validation_fraction": 0.5}
    base = begin(texts, **options).finish()
    work = begin([text + "。" for text in texts], base=base, **options).draft().decide()
    held = [(is_validation(text, 0.5), is_validation(text + "。", 0.5)) for text in texts]
    assert work.decisions() == [[IS_NEAR if old != new else STAYS for old, new in held]]
    assert len(set(held)) == 4  # every way across and along


def listed(work: Work) -> list[tuple[int, int, float, bool]]:
    """Return line, line of the one that stays, similarity and whether it is estimated."""
    (path,) = sorted(work.folder.path.glob("near_duplicates-*.parquet"))
    table = pq.read_table(path)
    assert table.schema.equals(NEAR_TABLE)
    columns = ("line", "like_line", "similarity", "is_estimate")
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def test_what_was_dropped_is_listed_with_the_document_that_stays(begin: Begin) -> None:
    text = long_text(0)
    work = begin([text, text + "。", long_text(1)], [text + "！"], near_duplicates="drop")
    work.draft().decide()
    shown = listed(work)
    assert [row[:2] for row in shown] == [(3, 2), (2, 2)]
    assert all(row[2] == pytest.approx(296 / 297) and not row[3] for row in shown)


def test_nothing_is_listed_where_nothing_was_searched(begin: Begin) -> None:
    folder = begin(TEXTS).draft().decide().folder
    assert not list(folder.path.glob("near_duplicates-*"))


def test_a_candidate_below_the_threshold_stays(begin: Begin) -> None:
    """With a share of 0.7 of their runs of characters in common, most texts share a key."""
    texts = []
    for seed in range(20):
        text = long_text(seed)
        texts += [text, long_text(100 + seed)[:53] + text[53:]]
    work = begin(texts, near_duplicates="drop").draft().decide()
    assert work.decisions() == [[STAYS] * 40] and not listed(work)


def test_an_appended_document_is_compared_with_the_signature_of_an_old_one(
    begin: Begin, tmp_path: Path
) -> None:
    text = long_text(0)
    begin([text, long_text(1)], near_duplicates="drop").finish()
    base = read_manifest(tmp_path / "out")
    work = begin([text + "。", long_text(2)], base=base, near_duplicates="drop").draft().decide()
    assert work.decisions() == [[IS_NEAR, STAYS]]
    ((line, like, similarity, is_estimate),) = listed(work)
    assert (line, like, is_estimate) == (2, 2, True) and similarity > 0.9
    work.pack().seal()
    extras = read_manifest(work.config.output).extras
    tables = [entry.file for entry in extras if is_near_table(entry.file)]
    assert tables == ["near_duplicates-00000.parquet", "near_duplicates-00001.parquet"]


def test_a_training_document_that_goes_takes_no_held_out_one_with_it(begin: Begin) -> None:
    """The new training document is near an old held-out one, so the new held-out one may stay."""
    fraction = 0.5
    options = {"near_duplicates": "validation", "validation_fraction": fraction}
    variants = [long_text(0) + sign * count for sign in "。，！？" for count in range(1, 9)]
    held = [text for text in variants if is_validation(text, fraction)]
    training = [text for text in variants if not is_validation(text, fraction)]
    other = next(
        text for text in map(long_text, range(50, 99)) if not is_validation(text, fraction)
    )
    base = begin([held[0], other], **options).finish()
    work = begin([held[1], training[0]], base=base, **options).draft().decide()
    assert work.decisions() == [[STAYS, IS_NEAR]]
