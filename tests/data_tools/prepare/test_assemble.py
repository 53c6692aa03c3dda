"""Finished units become a folder of shards with a manifest and its final name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_tools.prepare.assemble import assemble, put_in_place
from data_tools.prepare.formats import read_draft, write_draft
from data_tools.prepare.partial_folder import PartialFolder
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import EXACT, KEPT, SET_ASIDE, read_manifest

from .conftest import Begin

TEXTS = ["从前有座山", "短", "从前有座山鱻", "山里有座庙"]


def test_units_are_added_up_by_source(begin: Begin) -> None:
    work = begin(TEXTS, ["短", "第二行鱻"], unit_bytes=1).draft().decide().pack()
    manifest = assemble(work.plan, work.folder, None)
    one, two = manifest.sources
    assert len(manifest.units) == 8 and (len(one.extents), len(two.extents)) == (5, 3)
    assert (one.records, one.fates[KEPT].documents, EXACT in one.fates) == (4, 4, False)
    assert (two.records, two.fates[KEPT].documents, two.fates[EXACT].documents) == (2, 1, 1)
    train = manifest.splits["train"]
    assert train.documents == 5 and train.tokens == one.tokens + two.tokens
    assert [shard.unit for shard in train.shards] == [1, 2, 3, 4, 7]
    assert manifest.unknown == {"鱻": 2}


def test_a_ledger_that_does_not_sum_up_stops_the_preparation(begin: Begin) -> None:
    work = begin(TEXTS).draft().decide().pack()
    record = read_draft(work.folder, 0)
    record["slices"][0]["records"] += 1
    write_draft(work.folder, 0, record)
    with pytest.raises(UserError, match=r"5 records and \d+ bytes were read, but 4 records"):
        assemble(work.plan, work.folder, None)


def test_lists_of_what_was_set_aside_are_joined_after_that_of_the_base(begin: Begin) -> None:
    work = begin(["短"], ["座山"], unit_bytes=1).draft()
    work.folder.draft(0, "set_aside").write_text("one\n")
    work.folder.draft(3, "set_aside").write_text("two\n")
    manifest = work.decide().pack().seal()
    output = work.folder.output
    assert (output / SET_ASIDE).read_text() == "one\ntwo\n"
    extras = {entry.file for entry in read_manifest(output).extras}
    assert extras == {SET_ASIDE, "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"}
    more = begin(["庙里"], base=manifest).draft()
    more.folder.draft(4, "set_aside").write_text("three\n")
    more.decide().pack().seal()
    assert (output / SET_ASIDE).read_text() == "one\ntwo\nthree\n"
    paths = [source.path.as_posix() for source in (*work.sources, *more.sources)]
    assert [source.path for source in read_manifest(output).sources] == paths
    assert {entry.file for entry in read_manifest(output).extras} == extras


@pytest.fixture
def complete(tmp_path: Path) -> PartialFolder:
    """Return a folder that lacks only its name."""
    folder = PartialFolder(tmp_path / "out")
    folder.create()
    folder.manifest.write_text("new")
    (folder.path / "documents-00000.parquet.1.tmp").touch()
    return folder


def test_a_complete_folder_gets_its_name_and_nothing_else_stays(complete: PartialFolder) -> None:
    put_in_place(complete)
    assert os.listdir(complete.output.parent) == ["out"]
    assert os.listdir(complete.output) == ["manifest.json"]


def test_a_taken_name_is_left_alone_unless_it_may_be_replaced(complete: PartialFolder) -> None:
    complete.output.mkdir()
    (complete.output / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"out appeared while .*out\.partial was made"):
        put_in_place(complete)
    assert os.listdir(complete.output) == ["thesis.txt"] and complete.manifest.exists()
    complete.replacing.touch()
    put_in_place(complete)
    assert os.listdir(complete.output.parent) == ["out"]
    assert os.listdir(complete.output) == ["manifest.json"]


def test_what_a_killed_replacement_put_aside_is_removed(complete: PartialFolder) -> None:
    """It was killed between two renames: the old shards have another name, the new ones none."""
    aside = complete.output.with_name(".out.replaced-by-prepare.abc")
    other = complete.output.with_name(".out.mine")
    for folder in (aside, other):
        folder.mkdir()
    complete.replacing.touch()
    put_in_place(complete)
    assert complete.output.is_dir() and not aside.exists() and other.exists()
