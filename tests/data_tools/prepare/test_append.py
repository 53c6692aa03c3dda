"""New files behind old shards: what was there stays as it is, to the byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_tools.shards.split import document_hash
from gpt2zh.data.manifest import EXACT, KEPT, NEAR, read_manifest
from gpt2zh.data.packing import unpack
from gpt2zh.data.shard import ShardSet
from gpt2zh.text.tokenizer import load_tokenizer

pytestmark = pytest.mark.slow

OPTIONS = ("--row-length", 16, "--validation-fraction", 0.2)
OLD = [f"第{i}篇旧文，从前有座山。" for i in range(60)]
NEW = [f"第{i}篇新文，山里有座庙。" for i in range(40)]


@pytest.fixture
def shards(write_csv, command, tmp_path: Path) -> Path:
    """Return shards of the old texts."""
    write_csv("in/a.csv", OLD)
    out = tmp_path / "out"
    assert command("prepare", "--input", tmp_path / "in", "--output", out, *OPTIONS) == 0
    return out


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def texts_of(shards: Path, split: str) -> list[str]:
    rows = ShardSet.open(shards, split)
    tokenizer = load_tokenizer(shards / "tokenizer")
    packed = rows.gather(np.arange(rows.rows))
    ids = unpack([packed], eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    return [tokenizer.decode(document) for document in ids]


def append(command: Callable[..., int], shards: Path, *more: object) -> int:
    folder = shards.parent / "in"
    return command("prepare", "--input", folder, "--output", shards, *OPTIONS, "--append", *more)


def test_appended_documents_follow_the_old_ones_which_do_not_move(
    write_csv, command, shards: Path
) -> None:
    before = files_of(shards)
    old_rows = {s: ShardSet.open(shards, s).gather(np.arange(2)) for s in ("train", "validation")}
    old_texts = {split: texts_of(shards, split) for split in ("train", "validation")}
    write_csv("in/0-comes-first-by-name.csv", NEW)
    assert append(command, shards) == 0
    after = files_of(shards)
    changing = {"manifest.json", "set_aside.jsonl"}
    assert all(after[name] == data for name, data in before.items() if name not in changing)
    for split, rows in old_rows.items():
        assert (ShardSet.open(shards, split).gather(np.arange(2)) == rows).all()
    found = {split: texts_of(shards, split) for split in ("train", "validation")}
    for split, texts in old_texts.items():
        assert found[split][: len(texts)] == texts
    assert sorted(found["train"] + found["validation"]) == sorted(OLD + NEW)
    assert command("verify", shards) == 0
    assert not shards.with_name("out.partial").exists()


def test_a_copy_of_an_old_document_is_not_appended(write_csv, command, shards: Path) -> None:
    write_csv("in/b.csv", [*NEW, *OLD[:7], NEW[0]])
    assert append(command, shards) == 0
    source = read_manifest(shards).sources[-1]
    assert source.fates[KEPT].documents == len(NEW) and source.fates[EXACT].documents == 8


def test_appending_twice_adds_nothing(write_csv, command, shards: Path, capsys) -> None:
    write_csv("in/b.csv", NEW)
    assert append(command, shards) == 0
    before = files_of(shards)
    assert append(command, shards) == 0
    assert "nothing to append" in capsys.readouterr().out and files_of(shards) == before


def test_appending_twice_is_the_same_on_any_number_of_workers(
    write_csv, command, shards: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert command("prepare", "--input", tmp_path / "in", "--output", other, *OPTIONS) == 0
    for name, texts in (("b", NEW), ("c", [text + "又" for text in NEW])):
        write_csv(f"in/{name}.csv", texts)
        assert append(command, shards, "--workers", 1) == 0
        assert append(command, other, "--workers", 2) == 0
    assert files_of(shards) == files_of(other)


def test_an_old_file_by_another_name_is_left_out(
    write_csv, command, shards: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    before = files_of(shards)
    monkeypatch.chdir(shards.parent)
    options = ("--input", "in", "--output", shards, *OPTIONS, "--append")
    assert command("prepare", *options) == 0
    told = capsys.readouterr().out
    assert "is the same as" in told and "nothing to append" in told
    assert files_of(shards) == before


def test_what_a_killed_append_left_does_not_mix_with_the_next_work(
    write_csv, command, shards: Path
) -> None:
    """Killed while it tidied up: plan and manifest are gone, marks and lists are not."""
    partial = shards.with_name("out.partial")
    (partial / "work/drafts").mkdir(parents=True)
    (partial / "work/units").mkdir()
    (partial / "appending").touch()
    (partial / "work/drafts/decided.json").write_text('{"plan": "another", "begins": {}}')
    write_csv("in/b.csv", NEW)
    options = ("--input", shards.parent / "in", "--output", shards, *OPTIONS)
    assert command("prepare", *options, "--overwrite") == 0
    assert command("verify", shards) == 0 and not partial.exists()
    assert sorted(texts_of(shards, "train") + texts_of(shards, "validation")) == sorted(OLD + NEW)


def test_a_changed_old_file_is_refused(write_csv, command, shards: Path, capsys) -> None:
    before = files_of(shards)
    write_csv("in/a.csv", [OLD[0].replace("山", "水"), *OLD[1:]])
    write_csv("in/b.csv", NEW)
    assert append(command, shards) == 2
    told = capsys.readouterr().err
    assert "its content has changed" in told and "--overwrite" in told
    assert files_of(shards) == before


def test_other_options_are_refused(write_csv, command, shards: Path, capsys) -> None:
    write_csv("in/b.csv", NEW)
    assert append(command, shards, "--normalise", "nfc") == 2
    assert "--normalise was none, is now nfc" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["drop", "validation"])
def test_near_duplicates_are_found_across_an_append(
    write_csv, command, tmp_path: Path, kind: str
) -> None:
    """Old documents stay; of a new one that nearly is an old one, what is new goes."""
    options = (*OPTIONS[:2], "--validation-fraction", 0.5, "--near-duplicates", kind)
    signs = [chr(code) for code in range(0x4E00, 0x5200)]
    old = ["".join(random.Random(i).choices(signs, k=300)) for i in range(12)]
    write_csv("in/a.csv", old)
    out = tmp_path / "out"
    assert command("prepare", "--input", tmp_path / "in", "--output", out, *options) == 0
    before = read_manifest(out)
    kept = sum(split.documents for split in before.splits.values())
    write_csv("in/b.csv", [text + "。" for text in old])
    line = ("prepare", "--input", tmp_path / "in", "--output", out, *options, "--append")
    assert command(*line) == 0
    after = read_manifest(out)
    assert after.sources[0] == before.sources[0] and command("verify", out) == 0
    near = after.sources[1].fates[NEAR].documents
    if kind == "drop":
        assert sum(split.documents for split in after.splits.values()) == kept
        assert near == len(old)
    else:
        crossing = [text for text in old if is_held_out(text) != is_held_out(text + "。")]
        assert near == len(crossing) > 0


def is_held_out(text: str) -> bool:
    return document_hash(text.encode()) < 2**63


def swap(shards: Path, command: Callable[..., int], write_csv: Callable) -> Path:
    """Give the name of the shards to others with more units; return where the first ones are."""
    write_csv("elsewhere/x.csv", OLD[:20])
    write_csv("elsewhere/y.csv", NEW)
    others = shards.with_name("others")
    line = ("prepare", "--input", shards.parent / "elsewhere", "--output", others, *OPTIONS)
    assert command(*line, "--unit-bytes", 500) == 0
    old = shards.rename(shards.with_name("old"))
    others.rename(shards)
    return old


def test_parts_are_not_joined_to_other_shards_of_the_same_name(
    write_csv, command, shards: Path, capsys
) -> None:
    write_csv("in/b.csv", NEW)
    assert append(command, shards, "--part", 1, "--parts", 1) == 0
    old = swap(shards, command, write_csv)
    before = files_of(shards)
    assert command("finish", shards) == 2
    assert "does not hold the shards that" in capsys.readouterr().err
    assert files_of(shards) == before and command("verify", shards) == 0
    shards.rename(shards.with_name("others"))
    old.rename(shards)
    assert command("finish", shards) == 0 and command("verify", shards) == 0


def test_an_append_that_was_killed_at_its_end_does_not_go_into_other_shards(
    write_csv, command, shards: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv("in/b.csv", NEW)

    def killed(folder: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data_tools.prepare.run.put_in_place", killed)
        assert append(command, shards, "--workers", 1) == 130
    old = swap(shards, command, write_csv)
    before = files_of(shards)
    assert command("finish", shards) == 2
    assert "does not hold the shards that" in capsys.readouterr().err
    assert files_of(shards) == before
    shards.rename(shards.with_name("others"))
    old.rename(shards)
    assert command("finish", shards) == 0 and command("verify", shards) == 0
    assert len(read_manifest(shards).sources) == 2


def test_missing_units_of_an_append_are_named_by_their_place(
    write_csv, command, shards: Path, capsys
) -> None:
    write_csv("in/b.csv", NEW)
    small = ("--unit-bytes", 500)
    whole = shards.with_name("whole")
    line = ("prepare", "--input", shards.parent / "in/a.csv", "--output", whole, *OPTIONS, *small)
    assert command(*line) == 0
    first = len(read_manifest(whole).units)
    more = (*line[:2], shards.parent / "in", *line[3:], "--append", "--parts", 2)
    assert first > 1 and command(*more, "--part", 1) == 0
    capsys.readouterr()
    assert command("finish", whole) == 2
    told = capsys.readouterr().err
    assert "1 of 3 units are not prepared yet (1)" in told  # 0 and 2 of the new ones were part 1
    assert command(*more, "--part", 2) == 0 and command("finish", whole) == 0
