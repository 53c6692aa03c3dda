"""Folders and globs follow one rule; what is left out is counted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from data_tools.sources.walk import search
from gpt2zh.config.errors import UserError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content\n")
    return folder


def names(*inputs: object, base: Path) -> list[str]:
    return [path.relative_to(base).as_posix() for path in search(list(map(str, inputs))).files]


def left_out(*inputs: object) -> dict[str, int]:
    return dict(Counter(search(list(map(str, inputs))).left_out))


HIDDEN = (
    ".ipynb_checkpoints/a.csv",
    ".Trash-1000/files/a.csv",
    "__MACOSX/._a.csv",
    "deep/@eaDir/a.csv",
    "$RECYCLE.BIN/a.csv",
    "lost+found/a.csv",
    "._a.csv",
    "deep/.DS_Store.csv",
)


@pytest.mark.parametrize("pattern", ["", "**", "**/*.csv"])
def test_hidden_and_trash_are_left_out_of_folders_and_globs(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "a.csv", "deep/b.csv", *HIDDEN)
    assert names(tmp_path / pattern, base=tmp_path) == ["a.csv", "deep/b.csv"]
    assert left_out(tmp_path / pattern) == {"hidden": len(HIDDEN)}


def test_a_name_that_is_written_out_is_taken(tmp_path: Path) -> None:
    make(tmp_path, *HIDDEN, "notes.md")
    for name in (*HIDDEN, "notes.md"):
        assert names(tmp_path / name, base=tmp_path) == [name]
    assert names(tmp_path / ".ipynb_checkpoints", base=tmp_path) == [HIDDEN[0]]
    assert names(tmp_path / "__MACOSX/.*.csv", base=tmp_path) == ["__MACOSX/._a.csv"]
    assert names(tmp_path / "*/.DS_Store.csv", base=tmp_path) == ["deep/.DS_Store.csv"]


@pytest.mark.parametrize("pattern", ["", "**", "*"])
def test_unknown_kinds_are_left_out_of_folders_and_globs(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "a.csv", "b.tsv", "c.md", "d.MD", "e.jsonl.xz", "Makefile", "g.csv.gz")
    assert names(tmp_path / pattern, base=tmp_path) == ["a.csv", "b.tsv", "g.csv.gz"]
    assert left_out(tmp_path / pattern) == {".md": 2, ".xz": 1, "without a known suffix": 1}


def test_without_any_file_the_message_says_what_was_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.md", ".b.csv")
    with pytest.raises(UserError, match=r"no file matches .*; left out: 1 \.md, 1 hidden .*\.txt"):
        search([str(tmp_path)])
    with pytest.raises(UserError, match=r"no file matches .*/\*\.md'.*left out: 1 \.md"):
        search([str(tmp_path / "*.md")])


@pytest.mark.parametrize("pattern", ["corpus", "corpus/**", "corpus/**/*.csv"])
def test_linked_folders_are_read_once_and_loops_end(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "corpus/a.csv", "corpus/deep/b.csv", "disk/news/c.csv")
    for link, target in {
        "corpus/news": "../disk/news",
        "corpus/again": "../disk/news",
        "corpus/a-deep": "deep",
        "corpus/loop": ".",
        "disk/news/up": "../../corpus",
    }.items():
        (tmp_path / link).symlink_to(target)
    found = names(tmp_path / pattern, base=tmp_path)
    assert found == ["corpus/a.csv", "corpus/again/c.csv", "corpus/deep/b.csv"]
    assert left_out(tmp_path / pattern) == {}


def test_a_link_that_the_glob_names_is_found_also_when_its_folder_was_visited(
    tmp_path: Path,
) -> None:
    make(tmp_path, "x/data/b.csv")
    (tmp_path / "x/zh").symlink_to("data")
    assert names(tmp_path / "x/**/zh/*.csv", base=tmp_path) == ["x/zh/b.csv"]


@pytest.mark.parametrize("pattern", ["x", "x/*.csv"])
def test_a_file_with_two_links_is_read_once_by_its_own_name(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "x/m.csv", "disk/d.csv")
    for link, target in {
        "x/a.csv": "m.csv",
        "x/n.csv": "../disk/d.csv",
        "x/o.csv": "n.csv",
    }.items():
        (tmp_path / link).symlink_to(target)
    assert names(tmp_path / pattern, base=tmp_path) == ["x/m.csv", "x/n.csv"]
    assert left_out(tmp_path / pattern) == {"second link to a file": 2}
    assert left_out(tmp_path / "x/a.csv", tmp_path / "x/m.csv") == {"second link to a file": 1}


def test_broken_links_and_folders_that_a_glob_does_not_enter_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "b.csv/part-0.csv")
    (tmp_path / "news").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert left_out(tmp_path) == {"broken link": 1, "without a known suffix": 1}
    assert left_out(tmp_path / "**/*.csv") == {"broken link": 1}
    assert left_out(tmp_path / "*.csv") == {"folder": 1}


@pytest.mark.parametrize("folder", ["卷[一]", "[2023] news", "a*b?"])
def test_a_name_that_exists_is_a_name_with_brackets_too(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/deep/a.csv", f"{folder}/[1].csv", f"{folder}/1.csv", "卷一/x.csv")
    inside = tmp_path / folder
    every = ["1.csv", "[1].csv", "deep/a.csv"]
    assert names(inside, base=inside) == sorted(every)
    if "*" not in folder:
        assert names(inside / "**/*.csv", base=inside) == sorted(every)
        assert names(inside / "[1].csv", base=inside) == ["[1].csv"]
        assert names(inside / "[0-9].csv", base=inside) == ["1.csv"]
        assert names(inside / "[1]*.csv", base=inside) == ["1.csv"]
        (inside / "1.csv").unlink()
        assert names(inside / "[1]*.csv", base=inside) == ["[1].csv"]


def test_the_last_spelling_of_a_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "deep/a.csv", "b.csv")
    monkeypatch.chdir(tmp_path)
    found = search([str(tmp_path), "deep", "*.csv"]).files
    assert [path.as_posix() for path in found] == ["b.csv", "deep/a.csv"]
    found = search(["deep", str(tmp_path)]).files
    assert all(path.is_absolute() for path in found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "closed/b.csv")
    (tmp_path / "closed").chmod(0)
    try:
        for pattern in (tmp_path, tmp_path / "**/*.csv"):
            with pytest.raises(UserError, match=r"cannot list the folder .*closed: Permission"):
                search([str(pattern)])
        assert names(tmp_path / "*.csv", base=tmp_path) == ["a.csv"]
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("pattern", ["", " ", "no such folder/", "//no such file"])
def test_an_input_that_names_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match=rf"no file matches '{pattern}' \(searched from "):
        search([pattern])
