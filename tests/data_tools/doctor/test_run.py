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


def test_lost_characters_are_counted_by_what_becomes_of_them(
    doctor: Doctor, write_csv, bert_tokenizer: Path
) -> None:
    path = write_csv("in/a.csv", ["从前有座山\n山里有座庙", "短 Hello，", "短鱻鱻"])
    found = doctor(path, tokenizer=str(bert_tokenizer))
    lost = {row["character"]: (row["count"], row["kind"]) for row in found["lost"]}
    assert lost["\n"] == (1, "vanished") and lost["鱻"] == (2, "unknown")
    assert sum(count for count, _ in lost.values()) == found["groups"][0]["lost"]
    characters = found["groups"][0]["characters"]
    assert found["shares"]["lost"] == pytest.approx(found["groups"][0]["lost"] / characters)
    assert found["groups"][0]["exact"] == 0


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


def test_capitals_do_not_hide_what_else_is_lost(
    doctor: Doctor, write_csv, bert_tokenizer: Path, capsys
) -> None:
    text = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 20
    doctor(write_csv("in/a.csv", [text + "短鱻"]), tokenizer=str(bert_tokenizer))
    output = capsys.readouterr().out
    assert output.count("LATIN CAPITAL LETTER") == 3 and "CJK UNIFIED IDEOGRAPH-9C7B" in output
    assert "and 23 other characters" in output


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


def test_files_are_grouped_by_folder_or_by_themselves(doctor: Doctor, write_csv) -> None:
    write_csv("in/a/1.csv")
    write_csv("in/a/2.csv")
    path = write_csv("in/b/3.csv").parents[1]
    assert [group["name"] for group in doctor(path)["groups"]] == ["a/", "b/"]
    assert [group["name"] for group in doctor(path / "a")["groups"]] == ["1.csv", "2.csv"]


def test_copies_and_empty_records_are_counted(doctor: Doctor, write_csv) -> None:
    texts = ["同一篇"] * 4 + ["", "  "] + [f"第{number}篇" for number in range(6)]
    found = doctor(write_csv("in/a.csv", texts))
    assert found["groups"][0]["copies"] == 3 and found["groups"][0]["empty"] == 2
    assert "4 are '同一篇'" in texts_of(found)
    assert "of the records are empty" in texts_of(found)


def test_records_set_aside_are_reported_with_their_place(doctor: Doctor, write_csv) -> None:
    path = write_csv("in/a.csv", ["好的", "坏的", "也好"])
    path.write_bytes(path.read_bytes().replace("坏".encode(), b"\xff\xfe"))
    found = doctor(path, encoding="utf-8")
    assert found["groups"][0]["set_aside"] == {"bad UTF-8": 1}
    assert "a.csv:3: byte 0xFF" in texts_of(found)


def test_one_odd_encoding_is_reported_with_its_beginning(doctor: Doctor, write_csv) -> None:
    text = "从前有座山，山里有座庙，庙里有个老和尚。" * 20
    for name in ("a", "b"):
        write_csv(f"in/{name}.csv", [text])
    odd = write_csv("in/odd.csv", [text], encoding="gb18030")
    found = doctor(odd.parent)
    assert {Path(row["path"]).name: row["encoding"] for row in found["files"]} == {
        "a.csv": "utf-8",
        "b.csv": "utf-8",
        "odd.csv": "gb18030",
    }
    assert "1 of 3 files are not utf-8" in texts_of(found) and "从前有座山" in texts_of(found)


def test_texts_that_were_damaged_before_are_reported(doctor: Doctor, write_csv) -> None:
    found = doctor(write_csv("in/a.csv", ["好好的一篇", "这里锟斤拷了", "从前\ufffd山"]))
    assert found["groups"][0]["damaged"] == 2
    assert "a.csv:3: 这里⟦锟⟧斤拷了" in texts_of(found)


def test_short_and_long_documents_are_reported(doctor: Doctor, write_csv) -> None:
    found = doctor(write_csv("in/a.csv", ["短", "也短", "长" * 100_001]))
    assert "66.7 % of the documents have fewer than 10 characters" in texts_of(found)
    assert "the longest 100001" in texts_of(found)
    assert found["groups"][0]["lengths"]["100"] == 100_001


def test_findings_begin_with_the_weightiest(
    doctor: Doctor, write_csv, bert_tokenizer: Path, capsys
) -> None:
    found = doctor(write_csv("in/a.csv", ["短 文\n"] * 9), tokenizer=str(bert_tokenizer))
    weights = [finding["weight"] for finding in found["findings"]]
    assert weights == sorted(weights, reverse=True) and len(weights) > 2
    assert "cannot write back" in found["findings"][0]["text"]
    output = capsys.readouterr().out
    assert all(finding["cure"] in output for finding in found["findings"])


def test_forecast_counts_every_token_of_a_corpus_read_whole(doctor: Doctor, write_csv) -> None:
    found = doctor(write_csv("in/a.csv", ["短"] * 30), row_length=8)
    expected = found["forecast"]
    assert (expected["documents"], expected["characters"], expected["tokens"]) == (30, 30, 60)
    assert (expected["rows"], expected["steps"]) == (8, 1)
    assert expected["disk_bytes"] == 8 * 8 * 2 + 30 * 16


def test_forecast_scales_the_sample_to_the_corpus(doctor: Doctor, write_csv) -> None:
    path = write_csv("in/a.csv", [f"第{number}篇，从前有座山" * 5 for number in range(10_000)])
    found = doctor(path, sample=path.stat().st_size // 10)
    assert found["groups"][0]["documents"] < 1200
    assert found["forecast"]["documents"] == pytest.approx(10_000, rel=0.05)


def test_folders_that_are_too_many_to_look_into_are_taken_for_average(
    doctor: Doctor, write_csv
) -> None:
    for number in range(40):
        folder = write_csv(f"in/{number:02d}/a.csv", ["短文"] * 10).parents[1]
    found = doctor(folder, sample=5 * 65_536)
    assert sum(group["documents"] for group in found["groups"]) == 50
    assert found["forecast"]["documents"] == 400


def test_a_corpus_without_text_is_refused(write_csv) -> None:
    with pytest.raises(UserError, match=r"no document in the sample of 1 files.*--content-column"):
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


def test_real_corpora_lose_what_was_measured_by_hand(doctor: Doctor) -> None:
    if not CORPORA.is_dir() or not VOCAB.is_file():
        pytest.skip(f"needs the corpora in {CORPORA} and {VOCAB}")
    found = doctor(CORPORA, tokenizer=str(VOCAB), sample=2_000_000)
    lost = {group["name"]: group["lost"] / group["characters"] for group in found["groups"]}
    measured = {"classical_books/": 0.029, "poetry/": 0.072, "tech_articles/": 0.139}
    assert lost == pytest.approx(measured, abs=0.03)
    assert {"line breaks", "spaces", "capitals"} <= set(list(found["lost_families"])[:3])
    assert json.dumps(found)
