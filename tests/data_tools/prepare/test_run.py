"""`prepare` from CSV files to shards that decode to the documents again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from gpt2zh.data.manifest import ASIDE, EMPTY, KEPT, read_manifest
from gpt2zh.data.packing import unpack
from gpt2zh.data.shard import ShardSet
from gpt2zh.text.tokenizer import load_tokenizer

from ..conftest import Command, is_validation, many_texts


def documents_of(shards: Path, split: str = "train") -> list[str]:
    """Decode all documents of a split."""
    rows = ShardSet.open(shards, split)
    tokenizer = load_tokenizer(shards / "tokenizer")
    packed = rows.gather(np.arange(rows.rows))
    return [
        tokenizer.decode(ids)
        for ids in unpack([packed], eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    ]


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_shards_decode_to_the_documents(write_csv, command: Command, tmp_path: Path) -> None:
    texts = list(dict.fromkeys(many_texts(300)))
    write_csv("in/b.csv", texts[100:], encoding="utf-8-sig", lineterminator="\n")
    write_csv("in/a/x.csv", texts[:100], header=("content",))
    out = tmp_path / "out"
    options = ("--row-length", 64, "--shard-rows", 10, "--validation-fraction", 0.1)
    assert command("prepare", "--input", tmp_path / "in/**/*.csv", "--output", out, *options) == 0
    held = [text for text in texts if is_validation(text, 0.1)]
    rest = [text for text in texts if not is_validation(text, 0.1)]
    assert documents_of(out, "train") == rest and documents_of(out, "validation") == held
    assert len(held) > 10 and len(list(out.glob("train-*.arrow"))) > 3


def test_manifest_accounts_for_everything(write_csv, command: Command, tmp_path: Path) -> None:
    path = write_csv("in/a.csv", [*many_texts(100), "", " \n"])
    with path.open("ab") as file:
        file.write(b"7,a\x00b,x\n8,\xff,x\n9\n")
    out = tmp_path / "out"
    options = ("--row-length", 64, "--validation-fraction", 0.1)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    manifest = read_manifest(out)
    (source,) = manifest.sources
    splits = manifest.splits.values()
    assert (source.path, source.bytes) == (path.as_posix(), path.stat().st_size)
    assert (source.records, source.read) == (105, path.stat().st_size)
    found = {fate: count.documents for fate, count in source.fates.items() if count.documents}
    faults = {ASIDE + reason: 1 for reason in ("NUL character", "bad UTF-8", "ragged row")}
    assert found == {KEPT: 100, EMPTY: 2} | faults
    assert sum(count.bytes for count in source.fates.values()) == source.read
    assert source.characters == sum(map(len, many_texts(100)))
    assert source.fates[KEPT].documents == sum(split.documents for split in splits)
    for name in ("characters", "tokens"):
        assert getattr(source, name) == sum(getattr(split, name) for split in splits)
    assert all(split.tokens + split.padding == split.rows * 64 for split in splits)
    assert manifest.tokenizer.hash == load_tokenizer("builtin").hash
    assert load_tokenizer(out / "tokenizer").hash == manifest.tokenizer.hash


def test_broken_rows_are_listed_with_file_line_and_reason(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path = write_csv("in/a.csv", ["一", "二"], lineterminator="\n")
    with path.open("ab") as file:
        file.write(b"7,a\x00b,x\n8,\xff,x\n9\n")
    assert command("prepare", "--input", path, "--output", tmp_path / "out") == 0
    lines = (tmp_path / "out/set_aside.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [(entry["file"], entry["line"], entry["reason"]) for entry in found] == [
        (path.as_posix(), 4, "NUL character"),
        (path.as_posix(), 5, "bad UTF-8"),
        (path.as_posix(), 6, "ragged row"),
    ]
    assert f"see {tmp_path / 'out/set_aside.jsonl'}" in capsys.readouterr().out
    assert found[2]["excerpt"] == "9\n" and found[0]["excerpt"] == "a\0b"


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(write_csv, command: Command, tmp_path: Path) -> None:
    path = write_csv("in/a.csv", many_texts(50))
    for out in ("one", "two"):
        assert command("prepare", "--input", path, "--output", tmp_path / out) == 0
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


@pytest.mark.slow
def test_split_does_not_depend_on_files_or_their_order(
    write_csv, command: Command, tmp_path: Path
) -> None:
    texts = many_texts(200)
    write_csv("one/a.csv", texts[:150])
    write_csv("one/b.csv", texts[150:])
    write_csv("two/z.csv", texts[::-1])
    for name in ("one", "two"):
        out = tmp_path / f"{name}-out"
        options = ("--validation-fraction", 0.2)
        assert command("prepare", "--input", tmp_path / name, "--output", out, *options) == 0
    for split in ("train", "validation"):
        found = [sorted(documents_of(tmp_path / f"{n}-out", split)) for n in ("one", "two")]
        assert found[0] == found[1] and len(found[0]) > 10


def test_zero_nlp_packing_reports_what_it_drops(
    write_csv, command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    texts = many_texts(100)
    path = write_csv("in/a.csv", texts)
    out = tmp_path / "out"
    options = ("--tokenizer", bert_tokenizer, "--packing", "zero_nlp", "--row-length", 16)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    tokenizer = load_tokenizer(bert_tokenizer)
    manifest = read_manifest(out)
    kept = dropped = lost = 0
    for ids in tokenizer.encode_batch(texts):
        kept += len(ids) // 14
        dropped += len(ids) % 14
        lost += len(ids) < 14
    splits = manifest.splits.values()
    assert sum(split.rows for split in splits) == kept
    assert sum(split.dropped_tokens for split in splits) == dropped
    assert sum(split.dropped_documents for split in splits) == lost
    rows = ShardSet.open(out).gather(np.arange(3))
    assert (rows[:, 0] == tokenizer.cls_id).all() and (rows[:, -1] == tokenizer.sep_id).all()
    assert f"dropped {manifest.splits['train'].dropped_tokens} tokens" in capsys.readouterr().out


def test_large_vocabulary_is_stored_in_32_bits(write_csv, command: Command, tmp_path: Path) -> None:
    signs = [chr(code) for code in range(0x4E00, 0x4E00 + 70_000) if not 0xD800 <= code < 0xE000]
    big = Tokenizer(models.BPE({sign: i for i, sign in enumerate(signs)}, [], fuse_unk=False))
    (tmp_path / "big").mkdir()
    big.save(str(tmp_path / "big/tokenizer.json"))
    text = signs[-1] + signs[0] + signs[-2]
    path = write_csv("in/a.csv", [text])
    out = tmp_path / "out"
    options = ("--tokenizer", tmp_path / "big", "--row-length", 8)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    rows = ShardSet.open(out).gather(np.arange(1))
    assert rows.dtype == np.uint32
    assert rows[0, :3].tolist() == [len(signs) - 1, 0, len(signs) - 2]


@pytest.mark.slow
def test_overwrite_replaces_old_shards(write_csv, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command("prepare", "--input", write_csv("in/a.csv", ["一"]), "--output", out)
    again = write_csv("in/b.csv", ["二"])
    assert command("prepare", "--input", again, "--output", out, "--overwrite") == 0
    assert documents_of(out) == ["二"]
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_the_name_of_the_output_disturbs_no_terminal(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path, out = write_csv("in/a.csv", many_texts(20)), tmp_path / "o\x1b[1m"
    line = ("prepare", "--input", path, "--output", out, "--row-length", 64)
    for said in ("", "is complete: the same files", "already holds all of these files"):
        options = ("--append",) if "already" in said else ()
        assert command(*line, *options) == 0
        shown = capsys.readouterr().out
        assert said in shown and "\x1b" not in shown
    assert command("report", "--shards", out) == 0
    assert r"o\x1b[1m.report.html" in (shown := capsys.readouterr().out)
    assert "\x1b" not in shown


def test_a_restart_that_is_refused_discards_nothing(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    write_csv("in/a.csv", ["从前有座山"] * 3)
    line = ("prepare", "--output", tmp_path / "out", "--workers", 1)
    first = ("--input", tmp_path / "in", "--part", 1, "--parts", 2)
    assert command(*line, *first) == 0
    partial = tmp_path / "out.partial"
    before = sorted(path.relative_to(partial) for path in partial.rglob("*"))
    refused = (
        ("--input", tmp_path / "nothing/*.csv"),
        ("--input", tmp_path / "in", "--tokenizer", tmp_path / "none"),
        ("--input", tmp_path / "in", "--append"),
    )
    for wrong in refused:
        assert command(*line, *wrong, "--restart") == 2
        assert sorted(path.relative_to(partial) for path in partial.rglob("*")) == before, wrong
    assert command(*line, "--input", tmp_path / "in", "--restart") == 0 and not partial.exists()


def test_finish_refuses_a_wrong_number_of_processes(
    command: Command, tmp_path: Path, capsys
) -> None:
    assert command("finish", tmp_path / "out", "--workers", -3) == 2
    assert "--workers -3 is not a valid number of processes" in capsys.readouterr().err
