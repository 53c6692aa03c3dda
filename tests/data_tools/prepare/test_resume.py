"""An unfinished preparation is continued for the same work, else refused."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from data_tools.prepare.formats import has_draft
from data_tools.prepare.plan import PreparePlan, read_plan
from data_tools.prepare.resume import choose_plan
from data_tools.sources.find import inspect_all
from gpt2zh.config.errors import UserError

from .conftest import Begin, Work

TEXTS = ["从前有座山", "短"]


def choose_again(work: Work, **options: object) -> PreparePlan:
    """Choose the plan with other options and the files as they are now."""
    config = replace(work.config, **options)  # type: ignore[arg-type]
    sources = inspect_all([source.path for source in work.sources], config)
    return choose_plan(config, work.folder, work.tokenizer, sources, work.base)


def test_the_same_work_goes_on_with_its_plan_and_drafts(begin: Begin) -> None:
    work = begin(TEXTS).draft()
    plan = choose_again(work, workers=2, overwrite=True)
    assert plan == work.plan and has_draft(plan, work.folder, plan.unit(0))


def test_a_new_plan_begins_with_an_empty_folder(begin: Begin) -> None:
    work = begin(TEXTS).draft()
    work.folder.plan.unlink()
    assert choose_again(work) == work.plan
    assert list(work.folder.drafts.iterdir()) == [] and work.folder.tokenizer.is_dir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_length": 9}, r"out\.partial holds .*--row-length was 8, is now 9; .*--restart"),
        ({"min_characters": 3}, "--min-characters was 0, is now 3"),
    ],
)
def test_other_options_are_refused(begin: Begin, options: dict, message: str) -> None:
    work = begin(TEXTS)
    with pytest.raises(UserError, match=message):
        choose_again(work, **options)
    assert read_plan(work.folder.plan) == work.plan


def test_a_touched_file_is_known_by_its_new_time(begin: Begin) -> None:
    work = begin(TEXTS).draft()
    os.utime(work.sources[0].path, ns=(0, 5))
    plan = choose_again(work)
    assert plan.sources[0].mtime_ns == 5 and plan.identity == work.plan.identity
    assert read_plan(work.folder.plan) == plan


def test_a_changed_file_of_the_same_size_is_found_where_it_was_read(begin: Begin) -> None:
    work = begin(TEXTS, TEXTS, unit_bytes=1)
    first, second = (source.path for source in work.sources)
    second.write_bytes(second.read_bytes().replace("短".encode(), "长".encode()))
    choose_again(work)  # nothing was read of it
    replace(work, plan=read_plan(work.folder.plan)).draft()
    first.write_bytes(first.read_bytes().replace("短".encode(), "长".encode()))
    with pytest.raises(UserError, match=rf"the content of {first} changed; use the same input"):
        choose_again(work)


def test_a_longer_file_is_refused_with_its_sizes(begin: Begin) -> None:
    work = begin(TEXTS)
    (source,) = work.sources
    source.path.write_bytes(source.path.read_bytes() + b"9,x,9\r\n")
    with pytest.raises(UserError, match=rf"bytes was {source.bytes}, is now {source.bytes + 7}"):
        choose_again(work)
