"""`report`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from gpt2zh.data.manifest import read_manifest

from ..conftest import TEXTS, Command
from .conftest import change_manifest, verses


def test_the_page_is_the_same_each_time_and_is_written_next_to_the_shards(
    shards: Path, command: Command, tmp_path: Path, capsys
) -> None:
    before = sorted(path.name for path in shards.iterdir())
    assert command("report", shards) == 0
    assert f"page        {tmp_path / 'out.report.html'}" in capsys.readouterr().out
    assert command("report", shards, "--html", tmp_path / "other.html") == 0
    assert f"page        {tmp_path / 'other.html'}" in capsys.readouterr().out
    first = (tmp_path / "out.report.html").read_bytes()
    assert first == (tmp_path / "other.html").read_bytes()
    assert sorted(path.name for path in shards.iterdir()) == before
    assert not list(tmp_path.glob("*.tmp"))
    assert command("verify", shards) == 0 and not capsys.readouterr().err


def test_a_page_inside_the_shards_is_refused(shards: Path, command: Command, capsys) -> None:
    assert command("report", shards, "--html", shards / "x.html") == 2
    shown = capsys.readouterr().err
    assert str(shards / "x.html") in shown and "out.report.html" in shown
    assert not (shards / "x.html").exists()


def test_a_page_that_cannot_be_written_is_a_clear_error(
    shards: Path, command: Command, tmp_path: Path, capsys
) -> None:
    target = tmp_path / "none" / "x.html"
    assert command("report", shards, "--html", target) == 2
    assert f"{target} cannot be written: No such file" in capsys.readouterr().err


def test_names_of_files_can_do_no_harm(write_csv, command: Command, tmp_path: Path, capsys) -> None:
    names = ["<img src=x>&'\".csv", "\x1b[31mred\u202e.csv", os.fsdecode(b"\xff\xfe.csv")]
    for number, name in enumerate(names):
        write_csv(f"in/{name}", [f"{number}{text}" for text in TEXTS])
    out = tmp_path / "out"
    options = ("--row-length", 16, "--validation-fraction", 0, "--workers", 1)
    assert command("prepare", "--input", tmp_path / "in", "--output", out, *options) == 0
    capsys.readouterr()
    assert command("report", out) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown and "\\u001b[31mred\\u202e.csv" in shown
    page = ElementTree.fromstring(out.with_name("out.report.html").read_text("utf-8"))
    assert not list(page.iter("img"))
    heads = {head.text for head in page.iter("th")}
    assert {"<img src=x>&'\".csv", "\\u001b[31mred\\u202e.csv", "\\udcff\\udcfe.csv"} <= heads


def test_a_page_runs_no_script_from_names_titles_or_texts(
    write_csv, command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    script = "<script>alert(1)<\u2215script>"  # a name of a file cannot have a slash
    text = "从前有座山<script>alert('corpus')</script>"
    write_csv(f"in/{script}/{script}.csv", [text] * 3, header=("<script>", "content"))
    write_csv("in/b.csv", TEXTS)
    known = bert_tokenizer.read_text("utf-8").split("\n")
    bert_tokenizer.write_text("\n".join(sign for sign in known if sign not in "<>"), "utf-8")
    out = tmp_path / f"out{script}"
    options = ("--row-length", 16, "--validation-fraction", 0, "--workers", 1)
    options += ("--tokenizer", bert_tokenizer)
    assert command("prepare", "--input", tmp_path / "in", "--output", out, *options) == 0
    assert command("report", out) == 0
    written = out.with_name(f"{out.name}.report.html").read_text("utf-8")
    assert "<script" not in written and "&lt;script&gt;alert(1)" in written
    page = ElementTree.fromstring(written)
    assert page.findtext(".//h1") == out.name and out.name in page.findtext(".//title", "")
    heads = {head.text for head in page.iter("th")}
    assert f"{script}/{script}.csv" in heads
    unknown = set(read_manifest(out).unknown)
    assert {"<", ">", "script"} <= unknown and unknown <= heads


def test_zero_nlp_names_what_it_dropped(
    write_csv, command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    path = write_csv("in/a.csv", verses(30, 1))
    out = tmp_path / "out"
    options = ("--row-length", 32, "--packing", "zero_nlp", "--tokenizer", bert_tokenizer)
    options += ("--validation-fraction", 0, "--workers", 1)
    assert command("prepare", "--input", path, "--output", out, *options) == 0
    assert command("report", out) == 0
    shown = capsys.readouterr().out
    split = read_manifest(out).splits["train"]
    assert split.dropped_tokens and f"{split.dropped_tokens:,}" in shown
    assert f"no token of {split.dropped_documents} documents is in a row" in shown
    page = out.with_name("out.report.html").read_text("utf-8")
    assert "tokens that the packing puts around a chunk are not counted" in page


def test_a_ledger_that_does_not_sum_up_is_an_error(shards: Path, command: Command, capsys) -> None:
    def lose_a_byte(table: dict) -> None:
        table["sources"][0]["fates"]["kept"]["bytes"] -= 1

    change_manifest(shards, lose_a_byte)
    assert command("report", shards) == 2
    shown = capsys.readouterr().err
    source = read_manifest(shards).sources[0]
    assert f"{source.path}: {source.records} records and {source.read} bytes were read" in shown
    assert f"{source.read - 1} bytes accounted for" in shown and "does not add up to 100 %" in shown
    assert not shards.with_name("out.report.html").exists()
