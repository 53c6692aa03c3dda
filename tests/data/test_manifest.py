"""The manifest of a folder of shards: read as it was written, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shard_sets import make_manifest, make_set

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import MANIFEST, ShardEntry, read_manifest, write_manifest
from gpt2zh.data.shard import ShardSet


def test_manifest_comes_back_equal(tmp_path: Path) -> None:
    manifest = make_manifest((ShardEntry(file="f", rows=1, bytes=2, sha256="c"),))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_fingerprint_follows_the_rows_and_not_the_names() -> None:
    entry = ShardEntry(file="f", rows=1, bytes=2, sha256="c")
    renamed = ShardEntry(file="g", rows=1, bytes=2, sha256="c")
    other = ShardEntry(file="f", rows=1, bytes=2, sha256="d")
    print_of = [make_manifest((e,)).fingerprint for e in (entry, renamed, other)]
    assert print_of[0] == print_of[1] != print_of[2]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.update(format=99), "format 99"),
        (lambda table: table.pop("splits"), "is damaged"),
        (lambda table: table.update(row_length=17), "was altered: its fingerprint"),
        (lambda table: table["tokenizer"].update(extra=1), "is damaged"),
    ],
)
def test_damaged_manifest_is_refused(tmp_path: Path, damage, words: str) -> None:
    make_set(tmp_path)
    table = json.loads((tmp_path / MANIFEST).read_text("utf-8"))
    damage(table)
    (tmp_path / MANIFEST).write_text(json.dumps(table), "utf-8")
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path)


def test_folder_without_manifest_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest\.json.*data_tools prepare"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        ShardSet.open(tmp_path / "nowhere", "train")
