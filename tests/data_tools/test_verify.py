"""`verify`: every file that the manifest knows is what was written, or is named."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from gpt2zh.data.manifest import read_manifest

from .conftest import TEXTS, Command

KINDS = {
    "set_aside.jsonl": "file",
    "tokenizer/tokenizer.json": "file",
    "tokenizer/tokenizer_config.json": "file",
    "train-00000-000.arrow": "shard",
    "validation-00001-000.arrow": "shard",
    "documents-00001.parquet": "table of documents",
    "near-00000.u8": "list of near-duplicate signatures",
    "near_duplicates-00000.parquet": "table of near duplicates",
}


@pytest.fixture
def shards(write_csv, command: Command, tmp_path: Path, bert_tokenizer: Path, capsys) -> Path:
    """Shards of several units, with keys of near duplicates and something set aside."""
    rng = random.Random(0)
    texts = ["".join(rng.choices("".join(TEXTS), k=90)) for _ in range(60)]
    path = write_csv("in/a.csv", texts)
    with path.open("ab") as file:
        file.write(b"9\r\n")
    out = tmp_path / "out"
    options = ("--row-length", 32, "--unit-bytes", 5000, "--validation-fraction", 0.3)
    options += ("--near-duplicates", "drop", "--tokenizer", bert_tokenizer, "--workers", 1)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    capsys.readouterr()
    return out


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of a file, by itself in the middle."""
    data = bytearray(path.read_bytes())
    data[position if position >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_was_written_passes(shards: Path, command: Command, capsys) -> None:
    assert command("verify", shards) == 0
    told = capsys.readouterr()
    manifest = read_manifest(shards)
    count = sum(len(split.shards) for split in manifest.splits.values())
    beside = 2 * len(manifest.units) + 4  # set aside, near duplicates, and the tokenizer's two
    assert f"{count} shards and {beside} other files" in told.out
    assert f"fingerprint {manifest.fingerprint}" in told.out and not told.err


@pytest.mark.parametrize("name", KINDS)
def test_one_flipped_bit_is_found(shards: Path, command: Command, capsys, name: str) -> None:
    flip(shards / name)
    assert command("verify", shards) == 2
    told = capsys.readouterr().err
    assert f"{KINDS[name]} {shards / name} was altered: its sha256 is" in told
    assert "copy it again or prepare the shards again" in told


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_and_a_truncated_file_are_found(
    shards: Path, command: Command, capsys, name: str
) -> None:
    size = (shards / name).stat().st_size
    os.truncate(shards / name, size - 1)
    assert command("verify", shards) == 2
    told = capsys.readouterr().err
    assert (
        f"{shards / name} is truncated: it has {size - 1} bytes, the manifest says {size}" in told
    )
    (shards / name).unlink()
    assert command("verify", shards) == 2
    assert f"{KINDS[name]} {shards / name} is missing" in capsys.readouterr().err


def change_manifest(shards: Path, change) -> None:
    path = shards / "manifest.json"
    table = json.loads(path.read_text("utf-8"))
    change(table)
    path.write_text(json.dumps(table), "utf-8")


def test_a_manifest_of_other_rows_is_found(shards: Path, command: Command, capsys) -> None:
    def other_shard(table: dict) -> None:
        table["splits"]["train"]["shards"][0]["sha256"] = "0" * 64

    change_manifest(shards, other_shard)
    assert command("verify", shards) == 2
    assert "was altered: its fingerprint is" in capsys.readouterr().err


def test_a_manifest_whose_ledger_does_not_sum_up_is_found(
    shards: Path, command: Command, capsys
) -> None:
    def lose_a_document(table: dict) -> None:
        table["sources"][0]["fates"]["kept"]["documents"] -= 1

    change_manifest(shards, lose_a_document)
    assert command("verify", shards) == 2
    told = capsys.readouterr().err
    assert "does not sum up" in told and "61 records" in told and "60 records" in told


def test_all_faults_are_named_at_once_in_the_order_of_the_files(
    shards: Path, command: Command, capsys
) -> None:
    flip(shards / "train-00000-000.arrow")
    (shards / "train-00001-000.arrow").unlink()
    flip(shards / "documents-00000.parquet")
    flip(shards / "near-00001.u8")
    (shards / "tokenizer" / "tokenizer.json").unlink()
    assert command("verify", shards) == 2
    told = capsys.readouterr().err
    assert f"{shards}: 5 faults" in told
    names = [
        "train-00000-000",
        "train-00001-000",
        "documents-00000",
        "near-00001",
        "tokenizer.json",
    ]
    places = [told.index(name) for name in names]
    assert places == sorted(places)


def test_what_nobody_wrote_is_named_but_no_fault(shards: Path, command: Command, capsys) -> None:
    (shards / "notes\x1b.txt").write_text("x")
    (shards / "tokenizer" / "old.json").write_text("x")
    (shards / "train-00099-000.arrow").write_text("x")
    assert command("verify", shards) == 0
    told = capsys.readouterr()
    assert "warning: " in told.err and "all unchanged" in told.out
    assert "notes\\u001b.txt, train-00099-000.arrow, tokenizer/old.json" in told.err
    shards.with_name("out.partial").mkdir()
    assert command("verify", shards) == 0
    assert "--append was interrupted: run that command again" in capsys.readouterr().err


def test_what_is_no_folder_of_shards_is_refused(command: Command, tmp_path: Path, capsys) -> None:
    assert command("verify", tmp_path / "none") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert command("verify", tmp_path) == 2
    assert "has no manifest.json" in capsys.readouterr().err
