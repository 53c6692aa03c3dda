"""`report`: every byte accounted for, on the terminal and on a page whose plots tell the truth."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from gpt2zh.data.manifest import KEPT, read_manifest
from gpt2zh.pages.plots import LABEL

from ..conftest import TEXTS, Command


def verses(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [f"{i}。" + rng.choice(TEXTS) * rng.randrange(1, 30) for i in range(count)]


@pytest.fixture
def shards(write_csv, command: Command, tmp_path: Path, bert_tokenizer: Path, capsys) -> Path:
    """Shards of three files in two folders: with copies, empty, short and broken records."""
    write_csv("in/a/one.csv", verses(60, 1))
    write_csv("in/a/two.csv", [*verses(40, 1), *verses(30, 2), "", "短"])
    path = write_csv("in/b/gb.csv", verses(50, 3), encoding="gb18030")
    with path.open("ab") as file:
        file.write(b"9\r\n")
    out = tmp_path / "out"
    options = ("--row-length", 32, "--unit-bytes", 4000, "--validation-fraction", 0.1)
    options += ("--min-characters", 2, "--tokenizer", bert_tokenizer, "--workers", 1)
    assert command("prepare", "--input", tmp_path / "in", "--output", out, *options) == 0
    capsys.readouterr()
    return out


def page_of(shards: Path) -> ElementTree.Element:
    return ElementTree.fromstring(shards.with_name("out.report.html").read_text("utf-8"))


def figure(page: ElementTree.Element, key: str) -> ElementTree.Element:
    (found,) = (svg for svg in page.iter("svg") if svg.get("id") == key)
    return found


def bars_of(svg: ElementTree.Element) -> list[tuple[str, float]]:
    """Return tooltip and value of each bar."""
    return [
        (rect.findtext("title", ""), float(rect.get("data-value", ""))) for rect in svg.iter("rect")
    ]


def documents_in(shards: Path) -> dict[str, np.ndarray]:
    tables = [pq.read_table(path) for path in sorted(shards.glob("documents-*.parquet"))]
    assert len(tables) > 2
    names = ("source", "characters", "tokens", "validation")
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in names}


def test_the_ledger_is_printed_and_sums_up(shards: Path, command: Command, capsys) -> None:
    assert command("report", shards) == 0
    lines = capsys.readouterr().out.splitlines()
    manifest = read_manifest(shards)
    begin = lines.index("all (3 files)")
    end = next(i for i in range(begin, len(lines)) if lines[i].startswith("  = read"))
    cells = [line.rsplit(maxsplit=4) for line in lines[begin + 1 : end + 1]]
    fates = {fate.strip(): numbers for fate, *numbers in cells}
    read = sum(source.read for source in manifest.sources)
    records = sum(source.records for source in manifest.sources)
    assert fates.pop("= read") == [f"{records:,}", "100.00", f"{read:,}", "100.00"]
    assert sum(int(row[0].replace(",", "")) for row in fates.values()) == records
    assert sum(int(row[2].replace(",", "")) for row in fates.values()) == read
    assert {"kept", "exact duplicate", "empty", "structure", "filtered: too short"} <= fates.keys()
    (aside,) = (fate for fate in fates if fate.startswith("set aside: "))
    assert fates[aside][0] == fates["empty"][0] == fates["filtered: too short"][0] == "1"
    assert fates["kept"][0] == "139" and fates["exact duplicate"][0] == "41"


def test_every_file_has_its_own_sum(shards: Path, command: Command, capsys) -> None:
    assert command("report", shards) == 0
    lines = capsys.readouterr().out.splitlines()
    for source in read_manifest(shards).sources:
        begin = lines.index(source.path.split("/in/")[1])
        sums = next(line for line in lines[begin:] if line.startswith("  = read"))
        assert sums.split()[2:] == [f"{source.records:,}", "100.00", f"{source.read:,}", "100.00"]


def test_tokens_rows_encodings_options_and_unknown_texts_are_shown(
    shards: Path, command: Command, capsys
) -> None:
    assert command("report", shards) == 0
    shown = capsys.readouterr().out
    manifest = read_manifest(shards)
    tokens = sum(split.tokens for split in manifest.splits.values())
    characters = sum(split.characters for split in manifest.splits.values())
    (line,) = (row for row in shown.splitlines() if row.startswith("all  ") and "." in row)
    assert line.split()[2:] == [
        f"{characters:,}",
        f"{tokens:,}",
        "100.00",
        f"{tokens / characters:.3f}",
    ]
    assert f"{manifest.splits['train'].rows:,}" in shown and "b/gb.csv" in shown
    assert "csv, gb18030" in shown and "a/one.csv   csv" not in shown
    assert (
        "min_characters=2" in shown.split("defaults")[0]
        and "packing=full" not in shown.split("defaults")[0]
    )
    assert manifest.unknown and all(text in shown for text in list(manifest.unknown)[:3])


def test_plots_show_what_the_tables_say(shards: Path, command: Command) -> None:
    assert command("report", shards) == 0
    page, documents = page_of(shards), documents_in(shards)
    marks = list(figure(page, "lengths").iter("rect"))
    assert len(marks) % 2 == 0 and len(marks) > 10
    half = len(marks) // 2
    for number, mark in enumerate(marks):
        low, high = int(mark.get("data-from", "")), int(mark.get("data-to", ""))
        inside = documents["tokens"][(documents["tokens"] >= low) & (documents["tokens"] <= high)]
        expected = len(inside) if number < half else inside.sum()
        assert float(mark.get("data-value", "")) == expected
    assert sum(float(mark.get("data-value", "")) for mark in marks[:half]) == len(
        documents["tokens"]
    )
    for panel in (marks[:half], marks[half:]):
        values = np.array([float(mark.get("data-value", "")) for mark in panel])
        heights = np.array([float(mark.get("height", "")) for mark in panel])
        np.testing.assert_allclose(heights, values * heights.max() / values.max(), atol=0.01)
    density = dict(bars_of(figure(page, "density")))
    for number, source in enumerate(read_manifest(shards).sources):
        mine = documents["source"] == number
        value = documents["tokens"][mine].sum() / documents["characters"][mine].sum()
        name = source.path.split("/in/")[1]
        assert density[f"{name}: {value:.3f}"] == pytest.approx(value)


def test_the_stacked_bars_fill_their_width_with_every_fate(shards: Path, command: Command) -> None:
    assert command("report", shards) == 0
    manifest = read_manifest(shards)
    bars = bars_of(figure(page_of(shards), "ledger"))
    for source in manifest.sources:
        name = source.path.split("/in/")[1]
        mine = {
            text.split(", ")[1].split(":")[0]: value
            for text, value in bars
            if text.startswith(f"{name}, ")
        }
        assert sum(mine.values()) == source.read and mine["kept"] == source.fates[KEPT].bytes
    rects = list(figure(page_of(shards), "ledger").iter("rect"))
    widths = [float(rect.get("width", "")) for rect in rects]
    ends = {float(rect.get("x", "")) + width for rect, width in zip(rects, widths, strict=True)}
    assert sum(widths) == pytest.approx(4 * (max(ends) - LABEL), abs=0.2)
    unknown = bars_of(figure(page_of(shards), "unknown"))
    assert [value for _, value in unknown] == list(manifest.unknown.values())[:20]


def test_every_plot_says_what_it_is_and_has_its_numbers_in_a_table(
    shards: Path, command: Command
) -> None:
    assert command("report", shards) == 0
    page = page_of(shards)
    ids = {node.get("id"): node for node in page.iter() if node.get("id")}
    figures = list(page.iter("svg"))
    assert {svg.get("id") for svg in figures} == {
        "ledger",
        "ledger-rest",
        "lengths",
        "density",
        "unknown",
    }
    for svg in figures:
        assert svg.get("role") == "img"
        assert all(ids[key].text for key in svg.get("aria-labelledby", "").split())
    for section in page.iter("section"):
        assert len(list(section.iter("svg"))) == 0 or list(section.iter("table"))
    links = [link.get("href", "") for link in page.iter("a")]
    assert links and all(link[1:] in ids for link in links)


def test_the_page_needs_nothing_from_anywhere(shards: Path, command: Command) -> None:
    assert command("report", shards) == 0
    text = shards.with_name("out.report.html").read_text("utf-8")
    for sign in ("http:", "https:", "<script", "src=", "url(", "@import", "<link", "onload"):
        assert sign not in text, sign
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text


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
    page = page_of(out)
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


def test_of_too_many_files_the_page_shows_the_largest_and_says_so(
    shards: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_tools.report.page_ledger._MOST_FILES", 2)
    assert command("report", shards) == 0
    text = shards.with_name("out.report.html").read_text("utf-8")
    assert "The largest 2 files" in text and "The 1 smallest files are not shown here" in text


def change_manifest(shards: Path, change) -> None:
    path = shards / "manifest.json"
    table = json.loads(path.read_text("utf-8"))
    change(table)
    path.write_text(json.dumps(table), "utf-8")


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


def test_a_table_that_contradicts_the_ledger_is_an_error(
    shards: Path, command: Command, capsys
) -> None:
    def move_a_character(table: dict) -> None:
        table["sources"][0]["characters"] += 1
        table["sources"][1]["characters"] -= 1

    change_manifest(shards, move_a_character)
    assert command("report", shards) == 2
    shown = capsys.readouterr().err
    assert "2 faults" in shown and "in the manifest, but" in shown and "in the tables" in shown


def test_all_missing_and_damaged_files_are_named_at_once(
    shards: Path, command: Command, capsys
) -> None:
    (shards / "train-00000-000.arrow").unlink()
    os.truncate(shards / "documents-00001.parquet", 100)
    assert command("report", shards) == 2
    shown = capsys.readouterr().err
    assert "train-00000-000.arrow is missing" in shown
    assert "documents-00001.parquet is truncated: it has 100 bytes" in shown


def test_a_table_of_the_right_size_that_cannot_be_read_is_an_error(
    shards: Path, command: Command, capsys
) -> None:
    path = shards / "documents-00001.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    assert command("report", shards) == 2
    assert f"table of documents {path} cannot be read" in capsys.readouterr().err
