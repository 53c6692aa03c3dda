"""`~` is the home folder, also where no shell replaces it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpt2zh.config.cli import dump, parse
from gpt2zh.config.errors import UserError
from gpt2zh.config.paths import IS_PATH, expand_home, expand_homes, find_copied_run
from gpt2zh.config.schema import LaunchOptions, PretrainConfig


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


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The config of a run folder whose `output` is another folder."""
    config = PretrainConfig(data=("shards",), output=tmp_path / "first")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "identity.json").write_text("{}")
    (copy / "config.yaml").write_text(dump(config), "utf-8")
    return copy / "config.yaml"


def output_of(*argv: str) -> Path:
    config, _ = parse(PretrainConfig, LaunchOptions, argv=list(argv), prog="pretrain")
    return config.output


def test_the_config_of_a_copied_run_does_not_train_in_the_original(copied: Path) -> None:
    with pytest.raises(UserError) as caught:
        output_of(f"--config={copied}")
    assert f"add --output {copied.parent} to continue here" in str(caught.value)
    assert output_of(f"--config={copied}", f"--output={copied.parent}") == copied.parent


def test_configs_that_lie_where_they_belong_are_right(tmp_path: Path, copied: Path) -> None:
    inner = copied.parent / "checkpoint-3"
    inner.mkdir()
    (inner / "identity.json").write_text("{}")
    for file in (copied, inner / "config.yaml"):
        assert find_copied_run(file, str(copied.parent)) is None
        assert find_copied_run(file, None) is None
        assert find_copied_run(file, str(tmp_path / "first")) is not None
    (copied.parent / "identity.json").unlink()  # a config that somebody wrote
    assert output_of(f"--config={copied}") == tmp_path / "first"
