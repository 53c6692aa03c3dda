"""Preparing, saving, parity and published speeds: each runs, and its tables show the JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.corpus import take_sample, texts_of
from benchmarks.published import PUBLISHED
from gpt2zh.text.fast_wordpiece import WordPieceEncoder

from ..conftest import ROOT, demo_texts, write_csv

Run = Callable[..., tuple[dict[str, Any], str]]


def test_preparing(tmp_path: Path, tiny_vocabulary: Path, run: Run) -> None:
    corpus = write_csv(tmp_path / "corpus.csv", demo_texts()[:300])
    options = (f"--input={corpus}", f"--tokenizer={tiny_vocabulary}", "--sample=0.05")
    found, printed = run("prepare", *options, f"--work={tmp_path}")
    arms = found["arms"]
    assert list(arms) == [
        *("datasets", "encode_batch", "encode", "encode_warm", "prepare", "prepare_n")
    ]
    assert all(figures["mb_per_s"] > 0 for figures in arms.values())
    assert arms["prepare"]["mb"] == corpus.stat().st_size / 1e6 > arms["datasets"]["mb"] > 0
    assert arms["prepare"]["tokens"] == arms["prepare_n"]["tokens"] > 5000
    assert arms["prepare_n"]["workers"] == 2
    assert [figures["cores"] for figures in arms.values()] == [
        *[1] * 5,
        len(os.sched_getaffinity(0)),
    ]
    speeds = {name: figures["mb_per_s"] for name, figures in arms.items()}
    times = speeds["prepare"] / speeds["datasets"]
    assert f"| prepare | {speeds['prepare']:.1f} | {times:.2f} |" in printed
    size = sum(len(text.encode()) for text in demo_texts()[:300]) / 1e6
    assert 0 < arms["encode"]["mb"] == arms["encode_batch"]["mb"] < size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.csv", "out.json"]


def test_a_sample_has_records_of_every_file(tmp_path: Path) -> None:
    files = [
        write_csv(tmp_path / name, [f"{name}\n{line}" for line in range(lines)])
        for name, lines in (("a.csv", 200), ("b.csv", 100))
    ]
    take_sample(files, tmp_path / "sample", 600)
    sample = sorted((tmp_path / "sample").iterdir())
    texts = [list(texts_of([path])) for path in sample]
    assert [found[0] for found in texts] == ["a.csv\n0", "b.csv\n0"]
    assert 550 < sum(path.stat().st_size for path in sample) < 650


@pytest.mark.ranks
def test_saving(tmp_path: Path, run: Run) -> None:
    options = ("--layers=1", "--width=64", "--context=8", "--rounds=1", f"--disk={tmp_path}")
    found, printed = run("saving", *options, "--ranks=2")
    assert {name: len(rounds) for name, rounds in found["arms"].items()} == {
        **{"deepspeed": 1, "deepspeed, on disk": 1, "gpt2zh, waiting": 1, "gpt2zh": 1},
    }
    assert all(rounds[0]["bytes"] > 1e6 for rounds in found["arms"].values())
    assert found["resume_seconds"].keys() == {"deepspeed", "gpt2zh"}
    assert found["options"]["ranks"] == 2 and "| gpt2zh, waiting |" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("is_right", [True, False])
def test_parity_sees_whether_all_documents_agree(
    tmp_path: Path,
    tiny_vocabulary: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    is_right: bool,
) -> None:
    texts = ["今天，hello！", "", "  \n", "龘 zzz 的", "", "[SEP]<eos>"]
    source = write_csv(tmp_path / "a.csv", texts)
    probe = WordPieceEncoder._probe

    def break_one_character(self: WordPieceEncoder, page: int) -> None:
        probe(self, page)
        self._table[ord("今")] = 9  # in none of the strings that check encoders beforehand

    if not is_right:
        monkeypatch.setattr(WordPieceEncoder, "_probe", break_one_character)
    options = (f"--input={source}", f"--tokenizer={tiny_vocabulary}", "--fuzz=50")
    found, printed = run("parity", *options, code=int(not is_right))
    assert (found["files"], found["documents"]["texts"], found["fuzz"]["texts"]) == (1, 6, 50)
    assert (found["documents"]["different"] == 0) is is_right
    assert f"| documents | 6 | {found['documents']['bytes']} |" in printed
    if not is_right:
        assert found["documents"]["first_difference"]["number"] == 0


def test_a_missing_corpus_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.parity", "--input", f"{tmp_path}/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "error: no file matches" in done.stderr


def test_published_speeds_and_predictions(run: Run) -> None:
    found, printed = run("published")
    assert len(found["runs"]) == len(PUBLISHED) == printed.count("| RTX") + 8
    row = next(row for row in found["runs"] if row["card"] == "H100")
    assert f"| {row['rate']:,.0f} | {row['predicted']:,.0f} |" in printed
