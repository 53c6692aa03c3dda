"""A damaged file does not end a preparation: its rest is set aside, counted and warned of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gpt2zh.data.manifest import read_manifest

from ..conftest import TEXTS, Command

ROWS = [f'{{"content": "{number * 7919}字，{number * 104729}"}}' for number in range(60_000)]


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = tmp_path / "in/a.jsonl.gz"
    path.parent.mkdir()
    data = gzip.compress("\n".join(ROWS).encode(), 1)
    path.write_bytes(data[: len(data) * 3 // 4])
    return path


def test_the_rest_of_a_damaged_file_is_counted_and_warned_of(
    damaged: Path, write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    write_csv("in/b.csv", TEXTS)
    out = tmp_path / "out"
    line = ("prepare", "--input", tmp_path / "in", "--output", out, "--validation-fraction", 0)
    assert command(*line) == 0
    told = capsys.readouterr().err
    assert "warning: 1 file is damaged, and what lies behind the damage is missing" in told
    assert f"{damaged}; {out / 'set_aside.jsonl'} says where" in told
    first, second = read_manifest(out).sources
    aside = first.fates["set aside: damaged file"]
    kept = first.fates["kept"].documents
    assert aside.documents == 1 and first.records == kept + 1 and second.records == len(TEXTS)
    assert 0 < aside.bytes < 100
    assert first.read == len("\n".join(ROWS[:kept]).encode()) + 1 + aside.bytes
    (entry,) = map(json.loads, (out / "set_aside.jsonl").read_text("utf-8").splitlines())
    assert (entry["file"], entry["line"]) == (str(damaged), kept + 1)
    assert "ended before the end-of-stream marker" in entry["detail"]
    # The whole file was hashed: a second start and an append know it as unchanged.
    assert command(*line) == 0 and "nothing to do" in capsys.readouterr().out
    assert command(*line, "--append") == 0 and "nothing to append" in capsys.readouterr().out


def test_training_a_tokenizer_warns_of_a_damaged_file(
    damaged: Path, command: Command, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "tokenizer"
    options = ("--output", out, "--vocab-size", 8000, "--limit", 1000)
    assert command("train-tokenizer", "--input", damaged, *options) == 0
    assert f"warning: {damaged} is damaged, its rest is left out (" in capsys.readouterr().err
