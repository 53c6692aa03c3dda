"""Preparing, saving, parity and published speeds: each runs, and its tables show the JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import published

from ..conftest import ROOT, demo_texts, write_csv


def run(name: str, out: Path, *options: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Figures and tables; `--table` prints the same tables once more."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    done = subprocess.run(
        [*command, *options, f"--json={out}"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == code, done.stdout + done.stderr
    again = subprocess.run([*command, *options, f"--table={out}"], cwd=ROOT, capture_output=True)
    assert again.stdout.decode("utf-8") == done.stdout
    return json.loads(out.read_text("utf-8")), done.stdout


def test_preparing(tmp_path: Path, tiny_vocabulary: Path) -> None:
    corpus = write_csv(tmp_path / "corpus.csv", demo_texts()[:300])
    options = (f"--input={corpus}", f"--tokenizer={tiny_vocabulary}", "--copies=2", "--sample=0.05")
    found, printed = run("prepare", tmp_path / "out.json", *options, f"--work={tmp_path}")
    assert list(found["arms"]) == [
        *("read", "parse", "datasets", "encode_batch", "encode", "prepare", "prepare_n"),
    ]
    assert all(figures["mb_per_s"] > 0 for figures in found["arms"].values())
    assert found["arms"]["prepare"]["tokens"] == found["arms"]["prepare_n"]["tokens"] > 5000
    assert found["arms"]["prepare_n"]["workers"] == 2
    ratio = found["arms"]["prepare"]["mb_per_s"] / found["arms"]["datasets"]["mb_per_s"]
    assert f"| prepare / datasets | {ratio:.2f} |" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.csv", "out.json"]


@pytest.mark.ranks
def test_saving(tmp_path: Path) -> None:
    options = ("--layers=1", "--width=64", "--context=8", "--rounds=1", f"--disk={tmp_path}")
    found, printed = run("saving", tmp_path / "out.json", *options, "--ranks=2")
    assert {name: len(rounds) for name, rounds in found["arms"].items()} == {
        **{"deepspeed": 1, "deepspeed, on disk": 1, "gpt2zh, waiting": 1, "gpt2zh": 1},
    }
    assert all(rounds[0]["bytes"] > 1e6 for rounds in found["arms"].values())
    assert found["resume_seconds"].keys() == {"deepspeed", "gpt2zh"}
    assert found["options"]["ranks"] == 2 and "| gpt2zh, waiting |" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("is_right", [True, False])
def test_parity_sees_whether_all_documents_agree(
    tmp_path: Path, tiny_vocabulary: Path, is_right: bool
) -> None:
    texts = ["今天，hello！", "", "  \n", "龘 zzz 的", "", "[SEP]<eos>"]
    source, out = write_csv(tmp_path / "a.csv", texts), tmp_path / "out.json"
    argv = [f"--input={source}", f"--tokenizer={tiny_vocabulary}", "--fuzz=50", f"--json={out}"]
    code = f"import runpy, sys; sys.argv = ['parity', *{argv!r}];"
    if not is_right:
        # "今" is in none of the strings by which encoders are checked beforehand.
        code += (
            "from gpt2zh.text.fast_wordpiece import WordPieceEncoder as E; probe = E._probe;"
            "E._probe = lambda self, page: (probe(self, page), self._table.__setitem__(0x4eca, 9));"
        )
    code += "runpy.run_module('benchmarks.parity', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == int(not is_right), done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert (found["files"], found["documents"]["texts"], found["fuzz"]["texts"]) == (1, 6, 50)
    assert (found["documents"]["different"] == 0) is is_right
    assert f"| documents | 6 | {found['documents']['bytes']} |" in done.stdout
    if not is_right:
        assert found["documents"]["first_difference"]["number"] == 0


def test_a_missing_corpus_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.parity", "--input", f"{tmp_path}/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "error: no files at" in done.stderr


def test_published_speeds_and_predictions(tmp_path: Path) -> None:
    found, printed = run("published", tmp_path / "out.json")
    assert len(found["runs"]) == len(published.published()) == printed.count("| RTX") + 8
    row = next(row for row in found["runs"] if row["card"] == "H100")
    assert f"| {row['rate']:,.0f} | {row['predicted']:,.0f} |" in printed
