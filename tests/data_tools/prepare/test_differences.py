"""What distinguishes two plans is named, each in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools.prepare.differences import differences, option_differences

from .conftest import Begin

TEXTS = ["从前有座山", "短", "山里有座庙"]


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
    lines = option_differences({"a_b": 1, "c": 2}, {"c": 2, "d": None})
    assert lines == ["--a-b was 1, is now None"]
