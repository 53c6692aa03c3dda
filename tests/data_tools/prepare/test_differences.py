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
    elsewhere = "its records begin at other places, so its content changed"
    assert against(units=()) == sorted(f"input {s.path}: {elsewhere}" for s in (one, two))
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
