"""A request is checked against the files that exist, before anything is written."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_tools.config import PrepareConfig
from data_tools.prepare.request import (
    check_options,
    check_same_options,
    check_space,
    find_base,
    is_complete,
    new_sources,
    warn_of_cost,
)
from data_tools.sources.find import inspect_all
from data_tools.sources.source import SourceFile
from gpt2zh.config.errors import UserError

from .conftest import Begin

TEXTS = ["从前有座山", "短"]
CONFIG = PrepareConfig(input=("a",), output=Path("out"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_length": 7}, "--row-length 7 is too short; use at least 8"),
        ({"validation_fraction": 1.0}, "--validation-fraction 1.0 is not a valid share"),
        ({"validation_fraction": -0.1}, "--validation-fraction -0.1 is not a valid share"),
        ({"shard_rows": 0}, "--shard-rows 0 is too small"),
        ({"unit_bytes": 0}, "--unit-bytes 0 is too small"),
        ({"workers": -1}, "--workers -1 is not a valid number of processes"),
        ({"part": 3, "parts": 2}, "--part 3 --parts 2 do not go together"),
        ({"part": 0, "parts": 2}, "--part 0 --parts 2 do not go together"),
        ({"part": -1, "parts": 4}, "--part -1 --parts 4 do not go together"),
        ({"part": 1, "parts": 2, "restart": True}, "would also discard the other parts"),
        ({"input": ()}, "--input names no files"),
        ({"min_characters": -1}, "--min-characters -1 is not a valid count"),
    ],
)
def test_an_option_out_of_range_is_refused_with_its_rule(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_options(replace(CONFIG, **options))


def test_options_at_their_limits_are_allowed_and_all_faults_named_at_once() -> None:
    limits = replace(CONFIG, row_length=8, validation_fraction=0.0, shard_rows=1, unit_bytes=1)
    check_options(replace(limits, part=2, parts=2))
    with pytest.raises(UserError, match=r"(?s)--row-length 3 .*--validation-fraction 1.5.*rows 0"):
        check_options(replace(CONFIG, row_length=3, validation_fraction=1.5, shard_rows=0))


def test_only_shards_can_be_appended_to(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--append adds to shards, but .*out has none"):
        find_base(replace(CONFIG, output=tmp_path / "out", append=True))
    work = begin(TEXTS)
    manifest = work.finish()
    base = find_base(replace(work.config, append=True))
    assert base and base.fingerprint == manifest.fingerprint
    assert find_base(work.config) is None  # complete shards are compared first


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"already exists|is not a folder of shards"):
            find_base(replace(CONFIG, output=tmp_path, overwrite=overwrite))


def change(source: SourceFile, old: str, new: str) -> SourceFile:
    """Change a file and return what is known of it now."""
    source.path.write_bytes(source.path.read_bytes().replace(old.encode(), new.encode()))
    status = source.path.stat()
    return replace(source, bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def test_shards_are_complete_for_the_same_files_and_options_alone(begin: Begin) -> None:
    work = begin(TEXTS, TEXTS)
    assert not is_complete(work.config, work.sources, work.tokenizer)
    work.finish()
    assert is_complete(work.config, work.sources, work.tokenizer)
    assert is_complete(replace(work.config, workers=7), work.sources, work.tokenizer)
    assert not is_complete(replace(work.config, append=True), work.sources, work.tokenizer)
    assert not is_complete(replace(work.config, row_length=9), work.sources, work.tokenizer)
    assert not is_complete(work.config, work.sources[:1], work.tokenizer)
    one, two = work.sources
    assert not is_complete(work.config, [one, change(two, "短", "长")], work.tokenizer)


def test_only_new_files_are_appended_and_copies_by_another_name_are_not(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    work = begin(TEXTS)
    manifest = work.finish()
    (old,) = work.sources
    copy, new = (old.path.with_name(name) for name in ("copy.csv", "new.csv"))
    shutil.copy(old.path, copy)
    new.write_text("content\n庙\n", "utf-8")
    sources = inspect_all([old.path, copy, new], work.config)
    assert [source.path for source in new_sources(manifest, sources)] == [new]
    assert f"{copy} is the same as {old.path}" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"its content has changed; .*--overwrite"):
        new_sources(manifest, [change(old, "短", "长")])


def test_an_append_needs_the_same_options(begin: Begin) -> None:
    work = begin(TEXTS)
    manifest = work.finish()
    check_same_options(manifest, work.config, work.tokenizer)
    with pytest.raises(UserError, match=r"made with, but --row-length was 8, is now 9; "):
        check_same_options(manifest, replace(work.config, row_length=9), work.tokenizer)


@pytest.mark.parametrize(("compression", "needed"), [("", 600), ("gzip", 1800)])
def test_the_disk_must_have_room_for_two_bytes_for_three(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, compression: Any, needed: int
) -> None:
    work = begin(TEXTS)
    source = replace(work.sources[0], bytes=900, compression=compression)
    usage = namedtuple("usage", "free")
    for free in (needed, needed - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage(free))
        if free < needed:
            with pytest.raises(UserError, match=r"needs about 0\.00 GB, but its disk has 0\.00 GB"):
                check_space(work.config.output / "a/b", [source], work.tokenizer)
        else:
            check_space(work.config.output / "a/b", [source], work.tokenizer)
    assert not os.path.exists(work.config.output)


def test_a_slow_option_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    config = PrepareConfig(input=("in",), output=Path("out"))
    warn_of_cost(config)
    assert not capsys.readouterr().err
    warn_of_cost(replace(config, language="zh"))
    shown = capsys.readouterr().err
    assert "--language zh" in shown and "five times as long" in shown and "--min-han 0.7" in shown
