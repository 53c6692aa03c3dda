"""The work of a preparation: units that follow from the input and the options alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_tools.prepare.plan import (
    PreparePlan,
    differences,
    make_plan,
    option_differences,
    read_plan,
    write_plan,
)
from data_tools.sources.source import Slice
from gpt2zh.config.errors import UserError

from .conftest import Begin

TEXTS = ["从前有座山", "短", "山里有座庙"]


def test_small_files_share_a_unit_and_large_ones_are_cut(begin: Begin) -> None:
    work = begin(TEXTS, TEXTS, ["从前有座山，" * 9] * 30)
    small, _, large = (source.bytes for source in work.sources)
    assert len(work.plan.units) == 1
    plan = make_plan(replace(work.config, unit_bytes=2 * small), work.tokenizer, work.sources)
    assert [part.source for part in plan.units[0].slices] == [0, 1]
    assert len(plan.units) > 5 and {part.source for part in plan.units[1].slices} == {2}
    assert sum(unit.bytes for unit in plan.units) == 2 * small + large
    assert [unit.number for unit in plan.units] == list(range(len(plan.units)))
    assert plan.unit(3).number == 3 and plan.source(2) is work.sources[2]


def test_appended_units_and_sources_are_numbered_after_the_old_ones(begin: Begin) -> None:
    base = begin(TEXTS, TEXTS, unit_bytes=1).finish()
    plan = begin(TEXTS, base=base).plan
    assert (plan.units[0].number, plan.first_source) == (8, 2)
    assert [part.source for part in plan.unit(8).slices] == [2]
    assert plan.source(2).path.name == "2.csv" and plan.base == base.fingerprint


def test_the_identity_follows_from_content_and_options_not_from_times(begin: Begin) -> None:
    plan = begin(TEXTS).plan
    (source,) = plan.sources
    assert replace(plan, sources=(replace(source, mtime_ns=1),)).identity == plan.identity
    others = [
        replace(plan, sources=(replace(source, bytes=1),)),
        replace(plan, options=plan.options | {"row_length": 9}),
        replace(plan, base="other"),
    ]
    assert len({other.identity for other in (plan, *others)}) == 4


def test_options_that_change_no_row_are_not_part_of_the_plan(begin: Begin) -> None:
    work = begin(TEXTS, min_characters=1)
    others = replace(work.config, workers=3, part=1, parts=2, overwrite=True, restart=True)
    assert make_plan(others, work.tokenizer, work.sources) == work.plan
    assert work.plan.config.min_characters == 1 and work.plan.config.workers == 0


def test_a_plan_comes_back_as_it_was_written(begin: Begin, tmp_path: Path) -> None:
    plan = begin(TEXTS, unit_bytes=1).plan
    write_plan(tmp_path / "plan.json", plan)
    found = read_plan(tmp_path / "plan.json")
    assert found == plan and found.identity == plan.identity


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table | {"format": 1}, r"another version.*--restart"),
        (lambda table: {k: v for k, v in table.items() if k != "format"}, "another version"),
        (lambda table: table | {"units": None}, r"is damaged \(TypeError: .*--restart"),
        (lambda table: {k: v for k, v in table.items() if k != "sources"}, "is damaged .KeyError"),
        (lambda table: table | {"odd": 1}, "is damaged .TypeError"),
        (lambda table: [table], "is damaged .*Error"),
    ],
)
def test_a_plan_that_cannot_be_read_is_refused(
    begin: Begin, damage: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = begin(TEXTS).folder.plan
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=rf"plan\.json .*{message}"):
        read_plan(path)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(UserError, match=r"is damaged \(JSONDecodeError"):
        read_plan(path)


def test_what_differs_between_two_plans_is_named(begin: Begin) -> None:
    plan = begin(TEXTS, TEXTS).plan
    one, two = plan.sources
    assert differences(plan, replace(plan, sources=(one, replace(two, mtime_ns=1)))) == []

    def against(**values: Any) -> list[str]:
        return differences(plan, replace(plan, **values))

    changed = replace(two, bytes=9, encoding="gb18030")
    assert against(sources=(one, changed)) == [
        f"input {two.path}: bytes was {two.bytes}, is now 9",
        f"input {two.path}: encoding was utf-8, is now gb18030",
    ]
    new = replace(two, path=Path("new.csv"))
    assert against(sources=(one, new)) == [f"input {two.path} is gone", "input new.csv is new"]
    assert against(base="b") == ["the shards to append to have changed"]
    assert "cut at other places" in against(units=())[0]
    assert against(options=plan.options | {"row_length": 9}, units=()) == [
        "--row-length was 8, is now 9"
    ]


def test_options_that_one_side_lacks_differ() -> None:
    names = ("builtin", "builtin")
    lines = option_differences({"a_b": 1, "c": 2}, {"c": 2, "d": None}, tokenizers=names)
    assert lines == ["--a-b was 1, is now None"]


def test_tokenizers_that_differ_have_the_names_that_were_typed() -> None:
    before, now = {"tokenizer": "0123456789abcdef"}, {"tokenizer": "fedcba9876543210"}
    lines = option_differences(before, now, tokenizers=("builtin", "my folder"))
    assert lines == ["--tokenizer was builtin, is now my folder"]
    lines = option_differences(before, now, tokenizers=("my folder", "my folder"))
    assert lines == [
        "--tokenizer my folder has other content than before "
        "(0123456789ab before, fedcba987654 now)"
    ]


def test_versions_that_differ_are_named_one_by_one() -> None:
    """Shards of the first method of near duplicates cannot be continued or appended to."""
    before = {"versions": {"datasketch": "2.0.0", "opencc": "1.1.7"}}
    now = {"versions": {"datasketch": "2.0.0", "opencc": "1.2", "near duplicates": "2, compared"}}
    assert option_differences(before, now, tokenizers=("builtin", "builtin")) == [
        "the version of near duplicates was not recorded, is now 2, compared",
        "the version of opencc was 1.1.7, is now 1.2",
    ]


def test_a_unit_knows_the_size_of_its_slices(begin: Begin) -> None:
    plan: PreparePlan = begin(TEXTS).plan
    (unit,) = plan.units
    part = replace(unit.slices[0], slice=Slice(5, 8, 1))
    assert replace(unit, slices=(part, part)).bytes == 6
