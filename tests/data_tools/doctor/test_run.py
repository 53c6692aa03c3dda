"""What the doctor finds in a corpus, and what it says about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_tools.doctor.options import DoctorConfig
from data_tools.doctor.run import run
from gpt2zh.config.errors import UserError

from .conftest import Doctor

ROOT = Path(__file__).parents[3]
CORPORA = ROOT.parent / "shared/data/pretrain_csv"
VOCAB = ROOT.parent / "shared/data/bert-base-chinese/vocab.txt"


def texts_of(found: dict) -> str:
    return "\n".join(finding["text"] for finding in found["findings"])


def test_examples_show_the_place_and_the_text_around(
    doctor: Doctor, write_csv, bert_tokenizer: Path, capsys
) -> None:
    path = write_csv("in/a.csv", ["短", "", "从前有座山\n山里有座庙"])
    found = doctor(path, tokenizer=str(bert_tokenizer))
    row = next(row for row in found["lost"] if row["character"] == "\n")
    assert (row["example"], row["place"]) == ("从前有座山⟦↵⟧山里有座庙", "a.csv:4")
    output = capsys.readouterr().out
    assert "U+000A LINE FEED" in output and "从前有座山⟦↵⟧山里有座庙" in output
    assert "--tokenizer builtin, or repair this vocabulary with --repair DIR" in output


def test_lossless_tokenizer_has_no_finding_about_it(doctor: Doctor, capsys) -> None:
    found = doctor(ROOT / "demo/corpus")
    assert found["shares"]["lost"] == 0 and found["shares"]["exact"] == 1 and not found["lost"]
    told = capsys.readouterr().out
    assert "every character of the " in told and " documents comes back" in told
    assert "cannot write back" not in texts_of(found)


def test_characters_spelled_in_bytes_are_reported(doctor: Doctor, write_csv) -> None:
    found = doctor(write_csv("in/a.csv", ["䶮䶮䶮从前有座山" * 10]))
    assert found["spelled_in_bytes"] == {"䶮": 30}
    assert "spelled in bytes, such as 䶮" in texts_of(found)


def test_records_set_aside_are_reported_with_their_place(doctor: Doctor, write_csv) -> None:
    path = write_csv("in/a.csv", ["好的", "坏的", "也好"])
    path.write_bytes(path.read_bytes().replace("坏".encode(), b"\xff\xfe"))
    found = doctor(path, encoding="utf-8")
    assert found["groups"][0]["set_aside"] == {"bad UTF-8": 1}
    assert "a.csv:3: byte 0xFF" in texts_of(found)


def test_forecast_scales_the_sample_to_the_corpus(doctor: Doctor, write_csv) -> None:
    path = write_csv("in/a.csv", [f"第{number}篇，从前有座山" * 5 for number in range(10_000)])
    found = doctor(path, sample=path.stat().st_size // 10)
    assert found["groups"][0]["documents"] < 1200
    assert found["forecast"]["documents"] == pytest.approx(10_000, rel=0.05)


def test_a_corpus_without_text_is_refused(write_csv) -> None:
    with pytest.raises(UserError, match=r"no document in the sample of 1 file;.*--content-column"):
        run(DoctorConfig(input=(str(write_csv("in/a.csv", ["", " "])),)))


def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--json .*no/such.* folder that exists"):
        run(DoctorConfig(input=("nowhere",), json=tmp_path / "no/such/x.json"))


def test_sizes_that_make_no_sense_are_refused_together() -> None:
    with pytest.raises(UserError, match=r"(?s)--row-length 1 .*--sample 0 "):
        run(DoctorConfig(input=("nowhere",), row_length=1, sample=0))


def test_repair_makes_a_lossless_folder_and_shows_both(
    doctor: Doctor, write_csv, bert_tokenizer: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "repaired"
    path = write_csv("in/a.csv")
    before = doctor(path, tokenizer=str(bert_tokenizer), repair=out)
    output = capsys.readouterr().out
    assert "lost before" in output and f"--tokenizer {out}" in output
    assert before["shares"]["lost"] > 0.1 and before["repair"]["groups"][0]["lost"] == 0
    after = doctor(path, tokenizer=str(out))
    assert after["shares"]["lost"] == 0 and after["shares"]["exact"] == 1
    assert after["tokenizer"]["ids"] == before["repair"]["ids"]
    assert after["tokenizer"]["ids"] == before["tokenizer"]["ids"] + before["repair"]["new_ids"]


def test_repair_is_refused_before_anything_is_read(bert_tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only BERT's WordPiece can be repaired"):
        run(DoctorConfig(input=("nowhere",), repair=tmp_path / "out"))
    with pytest.raises(UserError, match="already exists"):
        run(DoctorConfig(input=("nowhere",), tokenizer=str(bert_tokenizer), repair=tmp_path))


@pytest.mark.slow
def test_real_corpora_lose_what_was_measured_by_hand(doctor: Doctor) -> None:
    if not CORPORA.is_dir() or not VOCAB.is_file():
        pytest.skip(f"needs the corpora in {CORPORA} and {VOCAB}")
    found = doctor(CORPORA, tokenizer=str(VOCAB), sample=2_000_000)
    lost = {group["name"]: group["lost"] / group["characters"] for group in found["groups"]}
    measured = {"classical_books/": 0.029, "poetry/": 0.072, "tech_articles/": 0.139}
    assert lost == pytest.approx(measured, abs=0.03)
    assert {"line breaks", "spaces", "capitals"} <= set(list(found["lost_families"])[:3])
    assert json.dumps(found)


def test_an_empty_corpus_is_refused_with_the_first_fault_of_each_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"content": ["a", "b"]}\n{"content": 5}\n{"content": "\\q"}\n')
    with pytest.raises(UserError) as caught:
        run(DoctorConfig(input=(str(path),)))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the corpus is empty") and len(lines) == 3
    assert lines[1].startswith(f"  not a string (2): {path}:1: 'content' is a list of 2 strings")
    assert lines[2].startswith(f"  bad JSON (1): {path}:3: Invalid \\escape")
