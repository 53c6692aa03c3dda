"""`train-tokenizer`: from texts to a tokenizer that loses nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data_tools.train_tokenizer import take_sample
from gpt2zh.pages.console import Progress
from gpt2zh.text.tokenizer import load_tokenizer

from .conftest import TEXTS, Command


def test_trained_tokenizer_is_usable_and_lossless(
    write_csv, command: Command, tmp_path: Path
) -> None:
    path = write_csv("in/a.csv", TEXTS * 20)
    out = tmp_path / "tokenizer"
    options = ("--output", out, "--vocab-size", 8000)
    assert command("train-tokenizer", "--input", f"{path}@5000", *options) == 0
    tokenizer = load_tokenizer(out)
    assert tokenizer.vocab_size <= 8000
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(TEXTS)] == list(TEXTS)
    assert len(tokenizer.encode(TEXTS[0])) < len(TEXTS[0])


def test_train_tokenizer_without_text_is_refused(
    write_csv, command: Command, tmp_path: Path, capsys
) -> None:
    path = write_csv("in/a.csv", [""])
    out = tmp_path / "tokenizer"
    assert command("train-tokenizer", "--input", path, "--output", out) == 2
    assert "hold no text" in capsys.readouterr().err and not out.exists()


def test_train_tokenizer_names_why_there_is_no_text(
    command: Command, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"content": ["a", "b"]}\n')
    assert command("train-tokenizer", "--input", path, "--output", tmp_path / "out") == 2
    assert f"not a string (1): {path}:1: 'content' is a list of 2" in capsys.readouterr().err


def test_sample_depends_on_the_texts_alone_and_keeps_its_limit() -> None:
    documents = [f"第{i}篇" for i in range(1000)]
    sample = take_sample(documents, 500)
    assert sample == take_sample(reversed(documents), 500)
    assert sum(map(len, sample)) == 500
    assert set(sample[:-1]) < set(documents)
    assert sorted(take_sample(documents, 10_000)) == sorted(documents)


def test_a_document_longer_than_the_limit_does_not_empty_the_sample() -> None:
    assert take_sample(["长" * 3000], 2000) == ["长" * 2000]
    for long in range(8):  # in some of them the hash of the long document is the smallest
        documents = [*(f"第{i}篇" * 10 for i in range(12)), f"{long}" * 500]
        rng = random.Random(long)
        samples = [take_sample(rng.sample(documents, len(documents)), 400) for _ in range(20)]
        assert sum(map(len, samples[0])) == 400
        assert all(sample == samples[0] for sample in samples)


@pytest.mark.parametrize(
    ("own", "limit", "told"),
    [
        ("", "-5", "--limit is -5, must be at least 1 character"),
        ("", "0", "--limit is 0, must be at least 1 character"),
        ("@0", "9", "a.csv@0 limits {path} to 0 characters, must be at least 1"),
    ],
)
def test_a_limit_that_takes_nothing_is_refused(
    write_csv, command: Command, tmp_path: Path, capsys, own: str, limit: str, told: str
) -> None:
    path, out = write_csv("in/a.csv"), tmp_path / "out"
    line = ("train-tokenizer", "--input", f"{path}{own}", "--output", out, "--limit", limit)
    assert command(*line) == 2
    assert told.format(path=path) in capsys.readouterr().err and not out.exists()


def test_reading_shows_its_progress(
    write_csv, command: Command, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(Progress, "show", lambda self, done: shown.append(done))
    one, two = write_csv("in/a.csv", TEXTS * 20), write_csv("in/b.csv", TEXTS * 10)
    options = ("--output", tmp_path / "out", "--vocab-size", 8000)
    assert command("train-tokenizer", "--input", one, two, *options) == 0
    assert shown[:4] == [1, 2, 1, 2]  # both files are inspected, each by itself
    assert shown[4:] == [one.stat().st_size, one.stat().st_size + two.stat().st_size]
    assert f"{one}: 100 documents, " in capsys.readouterr().err
