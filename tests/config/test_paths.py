"""`~` is the home folder, also where no shell replaces it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpt2zh.config.paths import IS_PATH, expand_home, expand_homes


def test_home_is_put_in_place_of_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    assert [expand_home(text) for text in ("~", "~/a/*.csv", "a~b", "/x/~", "", "~nobody-x/a")] == [
        "/home/me",
        "/home/me/a/*.csv",
        "a~b",
        "/x/~",
        "",
        "~nobody-x/a",
    ]
    (tmp_path / "~").mkdir()
    assert expand_home("~") == "~"
    (tmp_path / "~/a").mkdir()
    assert expand_home("~/*.csv") == "~/*.csv"


@dataclass(frozen=True)
class Inner:
    where: Path | None = Path("~/in")


@dataclass(frozen=True)
class Outer:
    output: Path = Path("~/out")
    data: tuple[str, ...] = field(default=("~/a:0.5", "b"), metadata=IS_PATH)
    tokenizer: str = field(default="~/t", metadata=IS_PATH)
    prompt: str = "~/no path"
    inner: Inner = Inner()


def test_all_paths_of_a_config_are_expanded_and_no_other_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/me")
    assert expand_homes(Outer()) == Outer(
        Path("/me/out"), ("/me/a:0.5", "b"), "/me/t", "~/no path", Inner(Path("/me/in"))
    )
    plain = Outer(Path("o"), (), "builtin", "", Inner(None))
    assert expand_homes(plain) is plain
