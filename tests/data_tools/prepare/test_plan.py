"""The work of a preparation: units that follow from the input and the options alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_tools.prepare.differences import differences, option_differences
from data_tools.prepare.plan import (
    PreparePlan,
    make_plan,
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


def test_an_option_that_older_versions_lack_is_recorded_only_if_it_changes_something(
    begin: Begin,
) -> None:
    work = begin(TEXTS)
    plan = work.plan
    assert "delimiter" not in plan.options and plan.config.delimiter == "auto"
    other = make_plan(replace(work.config, delimiter="\\t"), work.tokenizer, work.sources)
    assert other.options["delimiter"] == "tab" and other.config.delimiter == "tab"
    lines = option_differences(plan.options, other.options, tokenizers=("builtin", "builtin"))
    assert lines == ["--delimiter was auto, is now tab"]


def test_the_plan_of_an_older_version_is_the_same_plan(begin: Begin, tmp_path: Path) -> None:
    plan = begin(TEXTS).plan
    path = tmp_path / "plan.json"
    write_plan(path, plan)
    table = json.loads(path.read_text())
    for source in table["sources"]:
        del source["delimiter"]
    path.write_text(json.dumps(table))
    assert read_plan(path) == plan and read_plan(path).identity == plan.identity
    (source,) = plan.sources
    tabs = replace(plan, sources=(replace(source, delimiter="\t"),))
    assert tabs.identity != plan.identity
    assert differences(plan, tabs) == [f"input {source.path}: delimiter was comma, is now tab"]


def test_a_plan_comes_back_as_it_was_written(begin: Begin, tmp_path: Path) -> None:
    plan = begin(TEXTS, unit_bytes=1).plan
    write_plan(tmp_path / "plan.json", plan)
    found = read_plan(tmp_path / "plan.json")
    assert found == plan and found.identity == plan.identity


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table | {"format": 1}, r"another version.*run prepare with --restart"),
        (lambda table: {k: v for k, v in table.items() if k != "format"}, "another version"),
        (
            lambda table: table | {"units": None},
            r"is damaged \(TypeError: .*run prepare with --restart",
        ),
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


def test_a_unit_knows_the_size_of_its_slices(begin: Begin) -> None:
    plan: PreparePlan = begin(TEXTS).plan
    (unit,) = plan.units
    part = replace(unit.slices[0], slice=Slice(5, 8, 1))
    assert replace(unit, slices=(part, part)).bytes == 6
