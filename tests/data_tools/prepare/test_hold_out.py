"""No text of the validation split is also training text, where parts of documents are held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.prepare.formats import IS_EXACT, IS_NEAR, STAYS, STAYS_WHOLE
from gpt2zh.data.manifest import EXACT, Manifest
from gpt2zh.data.shard import ShardSet

from ..conftest import is_validation
from .conftest import Begin, long_text

NEAR = {"near_duplicates": "validation", "row_length": 32, "validation_fraction": 0.1}
KEEP = {"exact_duplicates": "keep", "row_length": 32, "validation_fraction": 0.1}
_RUN = 12  # tokens; no two different random texts share so many


def novel(seed: int) -> str:
    """Return 1500 characters, which do not fall into the validation split as a whole."""
    for begin in range(seed * 100, seed * 100 + 100, 5):
        text = "".join(map(long_text, range(begin, begin + 5)))
        if not is_validation(text, 0.6):
            return text
    raise AssertionError("no novel")


def runs(folder: Path, split: str) -> Iterator[bytes]:
    """Yield all runs of tokens of the documents in a split."""
    rows = ShardSet.open(folder, split)
    if not rows.rows:
        return
    ids = rows.gather(np.arange(rows.rows)).reshape(-1)
    special = [rows.manifest.tokenizer.eos_id, rows.manifest.tokenizer.pad_id]
    ends = [-1, *np.flatnonzero(np.isin(ids, special)).tolist(), len(ids)]
    for begin, end in pairwise(ends):
        for first in range(begin + 1, end - _RUN + 1):
            yield ids[first : first + _RUN].tobytes()


def leaked(folder: Path) -> set[bytes]:
    return set(runs(folder, "train")) & set(runs(folder, "validation"))


def leaks_of(begin: Begin, *files: Sequence[str], **options: Any) -> tuple[Manifest, set[bytes]]:
    """Prepare files; return the manifest and the runs of tokens that are in both splits."""
    work = begin(*files, **options)
    return work.finish(), leaked(work.config.output)


def test_a_novel_and_its_near_copy_are_training_text_and_another_novel_is_cut(
    begin: Begin,
) -> None:
    first, other = novel(1), novel(2)
    near = first[:700] + "短" + first[701:]
    manifest, both = leaks_of(begin, [first, near, other], **NEAR)
    assert not both and manifest.splits["validation"].rows > 0
    assert manifest.split_rule.block_tokens == 31


def test_where_every_document_has_a_near_one_nothing_is_cut(begin: Begin) -> None:
    first = novel(1)
    work = begin([first, first[:700] + "短" + first[701:]], **NEAR).draft().decide()
    assert work.decisions() == [[STAYS, STAYS]]
    manifest = work.pack().seal()
    assert not manifest.split_rule.block_tokens and not manifest.splits["validation"].rows


def test_near_documents_go_to_training_where_all_documents_were_held_out(begin: Begin) -> None:
    texts = [novel(1), novel(1)[:700] + "短" + novel(1)[701:], novel(2)]
    options = NEAR | {"validation_fraction": 0.99}
    assert all(is_validation(text, 0.99) for text in texts)
    work = begin(texts, **options).draft().decide()
    assert work.decisions() == [[STAYS_WHOLE, STAYS_WHOLE, STAYS]]
    manifest = work.pack().seal()
    assert not leaked(work.config.output)
    assert manifest.splits["train"].rows and manifest.splits["validation"].rows


def test_documents_that_stay_when_near_ones_empty_the_validation_split_are_not_cut(
    begin: Begin,
) -> None:
    text = novel(1)
    variants = [text + sign * count for sign in "。，！？" for count in range(1, 6)]
    held = [is_validation(variant, 0.5) for variant in variants]
    assert 0 < sum(held) < len(held)
    options = NEAR | {"validation_fraction": 0.5}
    work = begin([*variants, novel(2)], **options).draft().decide()
    whole = [IS_NEAR if is_held else STAYS_WHOLE for is_held in held]
    assert work.decisions() == [[*whole, STAYS]]
    manifest = work.pack().seal()
    assert manifest.splits["validation"].rows and not leaked(work.config.output)


@pytest.mark.parametrize("options", [KEEP, NEAR | KEEP])
def test_copies_of_a_novel_that_are_kept_are_cut_alike(
    begin: Begin, options: dict[str, Any]
) -> None:
    work = begin([novel(1), novel(1)], **options).draft().decide()
    assert work.decisions() == [[STAYS, STAYS]]
    manifest = work.pack().seal()
    assert manifest.splits["validation"].rows and not leaked(work.config.output)


@pytest.mark.parametrize("kind", ["keep", "validation"])
def test_a_copy_of_a_novel_that_was_cut_is_not_appended_also_where_copies_are_kept(
    begin: Begin, kind: str
) -> None:
    options = KEEP | {"near_duplicates": kind}
    base = begin([novel(1)], **options).finish()
    assert base.split_rule.block_tokens
    grown, both = leaks_of(begin, [novel(1), novel(2)], base=base, **options)
    assert not both and grown.sources[1].fates[EXACT].documents == 1
    assert grown.splits["validation"] == base.splits["validation"]


def test_a_copy_of_an_old_training_text_is_appended_as_a_whole(begin: Begin) -> None:
    """The old text was too short to be cut, so the first validation rows come from the new one."""
    text = novel(1)[:40]
    assert not is_validation(text, 0.1)
    base = begin([text], **KEEP).finish()
    assert not base.splits["validation"].rows
    work = begin([text, novel(2)], base=base, **KEEP).draft().decide()
    assert work.decisions() == [[STAYS_WHOLE, STAYS]]
    grown = work.pack().seal()
    assert grown.splits["validation"].rows and not leaked(work.config.output)
    assert EXACT not in grown.sources[1].fates


def test_a_new_text_near_an_old_training_text_is_appended_as_a_whole(begin: Begin) -> None:
    old = novel(1)
    base = begin([old, old + "。"], **NEAR).finish()
    assert not base.splits["validation"].rows
    work = begin([old + "！", novel(2)], base=base, **NEAR).draft().decide()
    assert work.decisions() == [[STAYS_WHOLE, STAYS]]
    work.pack().seal()
    assert not leaked(work.config.output)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_copy_that_would_get_into_the_other_split_is_dropped(
    begin: Begin, held_out: bool
) -> None:
    """Texts of one block each: a rule for blocks divides them otherwise than one for texts."""
    texts = [text for text in (long_text(n)[:25] for n in range(40)) if is_validation(text, 0.5)]
    if not held_out:
        texts = [text for text in (long_text(n)[:25] for n in range(40)) if text not in texts]
    options = KEEP | {"validation_fraction": 0.5}
    base = begin(texts, **options).finish()
    assert base.split_rule.block_tokens and all(split.rows for split in base.splits.values())
    work = begin(texts, base=base, **options).draft().decide()
    assert set(work.decisions()[0]) == {STAYS, IS_EXACT}
    work.pack().seal()
    assert not leaked(work.config.output)
