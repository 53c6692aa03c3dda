"""`~` is the home folder, also where no shell replaces it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2zh.config.paths import expand_home


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
