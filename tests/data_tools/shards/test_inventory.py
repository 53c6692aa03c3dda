"""The files of a folder of shards: those of its manifest, and strangers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ledgers import make_ledger, make_source

from data_tools.shards.inventory import find_strangers, list_files
from gpt2zh.data.manifest import KEPT, FileEntry, Manifest, UnitEntry


def entry(name: str) -> FileEntry:
    return FileEntry(file=name, bytes=1, sha256="0")


def manifest() -> Manifest:
    """Return a manifest of two units, one of them without signatures of near duplicates."""
    made = make_ledger([make_source(fates={KEPT: (1, 9)}, characters=5, tokens=5)])
    units = (
        UnitEntry(number=0, documents=entry("d0"), bands=entry("n0")),
        UnitEntry(number=1, documents=entry("d1")),
    )
    return replace(
        made,
        units=units,
        extras=(
            entry("set_aside"),
            entry("near_duplicates-00000.parquet"),
            entry("tokenizer/t.json"),
        ),
    )


def test_every_file_of_the_manifest_is_listed_with_its_kind() -> None:
    assert [(item.kind, item.entry.file) for item in list_files(manifest())] == [
        ("shard", "train-00000-000.arrow"),
        ("table of documents", "d0"),
        ("table of documents", "d1"),
        ("list of near-duplicate signatures", "n0"),
        ("file", "set_aside"),
        ("table of near duplicates", "near_duplicates-00000.parquet"),
        ("file", "tokenizer/t.json"),
    ]


def test_only_names_that_the_manifest_does_not_mention_are_strangers(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inside").touch()
    for item in list_files(manifest()):
        (tmp_path / item.entry.file).touch()
    (tmp_path / "manifest.json").touch()
    assert list(find_strangers(tmp_path, manifest())) == ["folder"]
    for name in ("z", "a", "tokenizer/b", "tokenizer/a"):
        (tmp_path / name).touch()
    strangers = ["a", "folder", "z", "tokenizer/a", "tokenizer/b"]
    assert list(find_strangers(tmp_path, manifest())) == strangers
