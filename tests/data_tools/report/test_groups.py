"""Files that are few stand by themselves; many are summed by their folders."""

from __future__ import annotations

from data_tools.report.groups import MOST, grouped
from gpt2zh.data.manifest import Source


def source(path: str, read: int = 1) -> Source:
    return Source(
        path=path,
        format="csv",
        compression="",
        encoding="utf-8",
        bytes=read,
        read=read,
        records=0,
        fates={},
        characters=0,
        tokens=0,
        extents=(),
    )


def names_of(paths: list[str]) -> list[str]:
    return [group.name for group in grouped([source(path) for path in paths])]


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
    groups = grouped([source(f"d/{number}/a.csv", number) for number in range(50)])
    assert len(groups) == MOST
    assert {f"{number}/" for number in range(31, 50)} < {group.name for group in groups}
    (others,) = (group for group in groups if group.name == "31 other folders/")
    assert others.read.bytes == sum(range(31)) and len(others.sources) == 31
