"""Files that are few stand by themselves; many are summed by their folders."""

from __future__ import annotations

from ledgers import make_source

from data_tools.report.groups import grouped
from data_tools.shards.folders import MOST
from gpt2zh.data.manifest import KEPT


def names_of(paths: list[str]) -> list[str]:
    return [group.name for group in grouped([make_source(path) for path in paths])]


def test_few_files_stand_by_themselves_below_what_they_share() -> None:
    assert names_of(["/d/x/a.csv", "/d/y/b.csv"]) == ["x/a.csv", "y/b.csv"]
    assert names_of(["d/a.csv"]) == ["a.csv"]
    assert names_of(["/d/a.csv", "e/a.csv"]) == ["/d/a.csv", "e/a.csv"]


def test_many_files_are_summed_by_the_deepest_folders_that_are_few() -> None:
    paths = [f"d/{a}/{b}/{c}.csv" for a in "xy" for b in range(15) for c in range(3)]
    assert names_of(paths) == ["x/", "y/"]
    assert names_of([path for path in paths if "/x/" in path]) == [f"{b}/" for b in range(15)]
    assert names_of([f"d/{number}.csv" for number in range(99)]) == ["./"]


def test_of_too_many_folders_the_largest_are_named() -> None:
    groups = grouped([make_source(f"d/{n}/a.csv", {KEPT: (0, n)}) for n in range(50)])
    assert len(groups) == MOST
    assert {f"{number}/" for number in range(31, 50)} < {group.name for group in groups}
    (others,) = (group for group in groups if group.name == "31 other folders/")
    assert others.read.bytes == sum(range(31)) and len(others.sources) == 31
