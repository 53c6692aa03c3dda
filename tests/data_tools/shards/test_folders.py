"""Many files as a few lines."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from data_tools.shards.folders import MOST, name_below, name_groups, shared_folder


def names_of(paths: list[str], sizes: list[int] | None = None) -> list[str]:
    return name_groups([Path("/in", path) for path in paths], sizes or [1] * len(paths))


@pytest.mark.parametrize(
    ("paths", "shared"),
    [
        (["/in/a/b/1.csv", "/in/ab/2.csv"], "/in"),
        (["/in/a/1.csv"], "/in/a"),
        (["d/1.csv", "d/e/2.csv"], "d"),
        (["/d/1.csv", "e/2.csv"], "."),
        ([], "."),
    ],
)
def test_the_shared_folder_is_the_nearest(paths: list[str], shared: str) -> None:
    assert shared_folder([*map(Path, paths)]) == PurePosixPath(shared)


def test_a_name_below_nothing_is_the_whole_path() -> None:
    assert name_below(Path("/d/1.csv"), PurePosixPath("/d")) == "1.csv"
    assert name_below(Path("/d/1.csv"), PurePosixPath()) == "/d/1.csv"


def test_few_files_are_groups_of_their_own() -> None:
    assert names_of(["a/1.csv", "2.csv"]) == ["a/1.csv", "2.csv"]


def test_many_files_are_grouped_by_the_deepest_folders_that_are_few() -> None:
    paths = [f"{a}/{b}/{c}.csv" for a in "xy" for b in range(15) for c in range(3)]
    assert names_of(paths) == ["x/"] * 45 + ["y/"] * 45
    assert names_of([f"{number}.csv" for number in range(99)]) == ["./"] * 99
    assert names_of(["top.csv", *paths])[0] == "./"


def test_of_very_many_folders_the_largest_are_named() -> None:
    names = names_of([f"{number}/a.csv" for number in range(450)], [*range(450)])
    assert len(set(names)) == MOST
    assert names[431:] == [f"{number}/" for number in range(431, 450)]
    assert names[:431] == ["431 other folders/"] * 431
