"""The doctor's report as text, and as a table for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np

from data_tools.doctor.examine import examine
from data_tools.doctor.findings import Finding, draw_conclusions
from data_tools.doctor.report import before_and_after, machine_readable, report
from gpt2zh.text.tokenizer import TextTokenizer

from .conftest import gather_facts, make_examination, make_group, make_sample, quiet_facts


def test_a_corpus_without_fault_is_ready() -> None:
    shown = report(quiet_facts(), [], seconds=1.0)
    assert shown.endswith("findings    none: you can run prepare")
    assert "every character of the 100 documents comes back" in shown


def test_the_head_counts_the_kinds_of_files_and_those_that_were_read() -> None:
    samples = [
        make_sample("a.csv", ["文"] * 100, share=0.5),
        make_sample("b.csv", ["文"] * 100, encoding="utf-8-sig"),
        replace(make_sample("c.csv", ["文"]), read=0),
    ]
    shown = report(replace(quiet_facts(), samples=samples), [], seconds=2.0)
    assert "sample      600 B of 903 B, from 2 of 3 files, in 2" in shown
    assert "files       2 csv utf-8, 1 csv utf-8 with byte order mark, in /in" in shown


def test_capitals_do_not_hide_what_else_is_lost(tokenizer: TextTokenizer) -> None:
    text = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 20
    facts = gather_facts([make_sample("a.csv", [text + "短鱻"])], tokenizer)
    shown = report(facts, [], seconds=1.0)
    assert shown.count("LATIN CAPITAL LETTER") == 3 and "CJK UNIFIED IDEOGRAPH-9C7B" in shown
    assert "and 23 other characters" in shown


def test_one_and_several_records_are_counted_in_good_english() -> None:
    for count, words in ((1, ("has", "is", "is")), (2, ("have", "are", "are"))):
        lengths = [np.full(count, 100_001)]
        aside = Counter({"damaged file": count})
        group = make_group(characters=lengths, empty=count, set_aside=aside)
        shown = report(quiet_facts(make_examination(group)), [], seconds=1.0)
        assert f", {count} {words[0]} more than 100,000" in shown
        assert f"{count} {words[1]} empty, {count} {words[2]} set aside: {count} dam" in shown


def test_each_finding_stands_above_its_cure() -> None:
    findings = [Finding(3, 0.1, "bad", "mend it"), Finding(1, 0.0, "odd", "do nothing")]
    lines = report(quiet_facts(), findings, seconds=1.0).splitlines()
    assert lines[-4:] == ["!! bad", "   -> mend it", "   odd", "   -> do nothing"]


def test_a_group_without_documents_has_a_line_too() -> None:
    found = make_examination(make_group("a/", 0), make_group("b/"))
    lines = report(quiet_facts(found), [], seconds=1.0).splitlines()
    (line,) = (line for line in lines if line.startswith("a/"))
    assert line.split()[1:] == ["1.00", "kB", "0", "0", "-", "-", "-", "-"]


def test_groups_that_were_not_read_are_one_line_that_says_so() -> None:
    unread = [make_group(f"{number}/", 0, files=3, read=0) for number in range(5)]
    found = make_examination(make_group("a/", files=2), *unread)
    lines = report(quiet_facts(found), [], seconds=1.0).splitlines()
    assert sum(line.startswith("a/ (2 files)") for line in lines) == 1
    (line,) = (line for line in lines if "not sampled" in line)
    assert line.split()[:6] == ["15", "other", "files", "5.00", "kB", "not"]
    assert len(before_and_after(found, found)) == 2


def test_the_table_holds_all_that_the_report_shows(tokenizer: TextTokenizer) -> None:
    aside = make_sample("b.csv", ["短"], encoding="gb18030")
    facts = gather_facts([make_sample("a.csv", ["短 文\n"] * 9), aside], tokenizer)
    conclusions = draw_conclusions(facts)
    table = json.loads(json.dumps(machine_readable(facts, conclusions)))
    assert [(row["path"], row["encoding"]) for row in table["files"]] == [
        ("/in/a.csv", "utf-8"),
        ("/in/b.csv", "gb18030"),
    ]
    assert [group["documents"] for group in table["groups"]] == [9, 1]
    assert table["groups"][0]["lengths"]["50"] == 4 and table["groups"][0]["copies"] == 8
    lost = {row["character"]: row for row in table["lost"]}
    assert lost["\n"]["count"] == 9 and lost["\n"]["place"] == "a.csv:2"
    assert lost["\n"]["name"] == "U+000A LINE FEED" and lost["\n"]["share"] == 9 / 37
    assert [row["text"] for row in table["findings"]] == [found.text for found in conclusions]


def test_two_tokenizers_are_compared_group_by_group(tokenizer: TextTokenizer) -> None:
    samples = [make_sample("a.csv", ["短\n短", "短"]), make_sample("b.csv", ["短"])]
    found = examine(samples, tokenizer)
    groups = [replace(group, exact=2, lost=Counter()) for group in found.groups]
    head, first, second = before_and_after(found, replace(found, groups=groups))
    assert head.split()[:4] == ["group", "lost", "before", "after"]
    cells = first.replace(" %", "%").split()
    assert cells == ["a.csv", "25.0%", "0%", "50.0%", "100%", "0.750", "0.750"]
    assert second.split()[1:5] == ["0", "%", "0", "%"]
