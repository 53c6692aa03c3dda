"""An unfinished preparation goes on without files that are gone or changed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_tools.prepare.drop import drop_changed, look_at, without
from data_tools.prepare.formats import has_draft
from data_tools.prepare.partial_folder import PartialFolder
from data_tools.prepare.plan import make_plan, read_plan, write_plan
from data_tools.shards.near_table import near_tables
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import read_manifest
from gpt2zh.data.shard import ShardSet

from ..conftest import Command, many_texts, write_rows
from .conftest import Begin, Work, long_text

FILES = [["从前有座山", "短"], ["山里有座庙", "短"], ["第一行和单引号", "空格"], ["说然后走了"]]


def shards(folder: Path) -> dict[str, bytes]:
    """Return all files that hold rows or tell where they come from."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.suffix in (".arrow", ".parquet", ".u64")
    }


def fresh(begin: Begin, work: Work, dropped: int, output: Path) -> dict[str, bytes]:
    """Prepare the other files from the beginning, in units of the same slices."""
    folder = PartialFolder(output)
    folder.create()
    sources = [source for number, source in enumerate(work.sources) if number != dropped]
    plan = make_plan(work.config, work.tokenizer, sources)
    units = tuple(
        replace(
            unit,
            slices=tuple(
                replace(part, source=part.source - (part.source > dropped))
                for part in unit.slices
                if part.source != dropped
            ),
        )
        for unit in work.plan.units
    )
    plan = replace(plan, units=units)
    write_plan(folder.plan, plan)
    work.tokenizer.save(folder.tokenizer)
    replace(work, folder=folder, plan=plan, sources=sources).finish()
    return shards(output)


@pytest.mark.parametrize(
    ("stage", "dropped", "size", "near"),
    [
        ("plan", 0, 100, "keep"),
        ("plan", 1, 1, "drop"),
        ("draft", 0, 1, "drop"),
        ("draft", 1, 100, "keep"),
        ("draft", 3, 10_000, "keep"),
        ("draft", 1, 10_000, "drop"),
        ("pack", 0, 1, "keep"),
        ("pack", 3, 100, "drop"),
    ],
)
def test_the_shards_are_those_of_the_same_units_without_the_file(
    begin: Begin, tmp_path: Path, stage: str, dropped: int, size: int, near: str
) -> None:
    work = begin(*FILES, unit_bytes=size, near_duplicates=near)
    if stage != "plan":
        work.draft()
    if stage == "pack":
        work.decide().pack()
    work.sources[dropped].path.unlink()
    plan = drop_changed(work.folder, only_missing=False)
    assert plan == read_plan(work.folder.plan) and plan.dropped == (dropped,)
    assert plan.remade == tuple(
        unit.number for unit in work.plan.units if dropped in [part.source for part in unit.slices]
    )
    if stage == "draft":
        for unit in plan.units:
            assert has_draft(plan, work.folder, unit) == (unit.number not in plan.remade)
    manifest = replace(work, plan=plan).finish()
    others = [source for number, source in enumerate(work.sources) if number != dropped]
    assert [source.path for source in manifest.sources] == [str(one.path) for one in others]
    assert shards(work.config.output) == fresh(begin, work, dropped, tmp_path / "fresh")


def test_a_second_file_can_be_dropped_later(begin: Begin) -> None:
    work = begin(*FILES, unit_bytes=1).draft()
    work.sources[2].path.unlink()
    drop_changed(work.folder, only_missing=False)
    work.sources[0].path.unlink()
    plan = drop_changed(work.folder, only_missing=False)
    assert plan.dropped == (0, 2) and plan.draft_identity == work.plan.identity
    manifest = replace(work, plan=plan).finish()
    assert [Path(source.path).name for source in manifest.sources] == ["1.csv", "3.csv"]
    assert not any(source.fates.get("exact duplicate") for source in manifest.sources)


def test_a_file_can_be_dropped_from_an_append(begin: Begin) -> None:
    base = begin(FILES[0]).finish()
    work = begin(FILES[1], FILES[2], FILES[3], base=base).draft()
    work.sources[1].path.unlink()
    plan = drop_changed(work.folder, only_missing=False)
    assert plan.dropped == (2,)
    manifest = replace(work, plan=plan).finish()
    assert [Path(source.path).name for source in manifest.sources] == ["0.csv", "1.csv", "3.csv"]
    table = pq.ParquetFile(work.config.output / manifest.units[-1].documents.file).read()
    assert table["source"].to_pylist() == [1, 2]


def rewrite(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace("短".encode(), "单".encode()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.write_text("other"), "changed: .* bytes were planned, it has 5"),
        (rewrite, "changed: its content is not what was read"),
        (lambda path: path.rename(path.with_suffix(".old")), "is gone"),
    ],
)
def test_what_has_changed_is_said(
    begin: Begin, change: Callable, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    work = begin(*FILES).draft()
    path = work.sources[1].path
    change(path)
    if path.exists():
        os.utime(path, ns=(0, 7))
    assert drop_changed(work.folder, only_missing=False).dropped == (1,)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^dropped: {path} {told}", line)


def test_a_touched_file_stays(begin: Begin) -> None:
    work = begin(*FILES).draft()
    os.utime(work.sources[1].path, ns=(0, 7))
    plan = drop_changed(work.folder, only_missing=False)
    assert not plan.dropped and plan.sources[1].mtime_ns == 7
    assert plan.identity == work.plan.identity and read_plan(work.folder.plan) == plan


def test_records_that_begin_elsewhere_are_a_change_also_where_nothing_was_read(
    begin: Begin,
) -> None:
    plan = begin(*FILES, unit_bytes=10).plan
    path = plan.sources[0].path
    data = path.read_bytes()
    path.write_bytes(data[:15] + b"\n" * (len(data) - 15))
    os.utime(path, ns=(0, 7))
    assert "begin at other places" in str(look_at(plan.sources[0], plan, {}))


def test_nothing_is_left_is_refused(begin: Begin) -> None:
    work = begin(*FILES[:2]).draft()
    for source in work.sources:
        source.path.unlink()
    with pytest.raises(UserError, match=r"every file that .*nothing would remain; .*--restart"):
        drop_changed(work.folder, only_missing=False)
    assert read_plan(work.folder.plan) == work.plan
    assert not drop_changed(work.folder, only_missing=True).dropped, "all of their text was read"


def test_finish_says_that_it_looked_only_at_what_is_still_to_be_read(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    work = begin(*FILES).draft()
    work.sources[0].path.unlink()
    assert not drop_changed(work.folder, only_missing=True).dropped
    assert capsys.readouterr().err == "no file that is still to be read is gone or changed\n"


def test_a_unit_that_is_packed_is_compared_like_one_that_is_not(begin: Begin) -> None:
    work = begin(*FILES, unit_bytes=1).draft().decide().pack()
    path = work.sources[0].path
    rewrite(path)
    os.utime(path, ns=(0, 7))
    assert drop_changed(work.folder, only_missing=False).dropped == (0,)


def test_the_list_of_near_duplicates_has_the_numbers_of_the_manifest(begin: Begin) -> None:
    text = long_text(1)
    files = [[text], [long_text(2)], [long_text(3)], [long_text(2) + "。"]]
    work = begin(*files, near_duplicates="drop").draft()
    work.sources[0].path.unlink()
    plan = drop_changed(work.folder, only_missing=False)
    manifest = replace(work, plan=plan).finish()
    names = [Path(source.path).name for source in manifest.sources]
    (path,) = near_tables(work.config.output)
    table = pq.read_table(path)
    (source,), (like,) = table["source"].to_pylist(), table["like_source"].to_pylist()
    assert (names[source], names[like]) == ("3.csv", "1.csv")


def test_a_plan_without_nothing_is_the_same(begin: Begin) -> None:
    plan = begin(*FILES).plan
    assert without(plan, []) is plan
    less = without(plan, [1])
    assert less.identity != plan.identity and less.draft_identity == plan.identity
    assert list(less.remaining) == [0, 2, 3] and without(less, [1]) is less


def tokens(folder: Path) -> list[int]:
    rows = ShardSet.open(folder, "train")
    return rows.gather(np.arange(rows.rows)).ravel().tolist()


@pytest.mark.parametrize(("replaced", "parts"), [(False, False), (True, True)])
def test_commands_go_on_without_a_file_that_is_gone(
    command: Command, tmp_path: Path, bert_tokenizer: Path, replaced: bool, parts: bool, capsys
) -> None:
    paths = [write_rows(tmp_path / f"in/{n}.csv", many_texts(40, seed=n)) for n in range(4)]
    out = tmp_path / "out"
    options = ("--row-length", 64, "--validation-fraction", 0, "--unit-bytes", 1500, "--workers", 1)
    options += ("--tokenizer", bert_tokenizer)

    def line(output: Path = out, *more: object, inputs: object = tmp_path / "in") -> tuple:
        return ("prepare", "--input", inputs, "--output", output, *options, *more)

    assert command(*line(out, "--part", 1, "--parts", 2)) == 0
    gone = paths[1]
    gone.rename(tmp_path / "away.csv")
    if replaced:
        write_rows(gone, many_texts(50, seed=9))
    capsys.readouterr()
    assert command(*line(out, "--part", 2, "--parts", 2)) == 2
    told = capsys.readouterr().err
    assert str(gone) in told and "--drop-changed to go on without the files" in told
    if parts:
        assert command(*line(out, "--part", 2, "--parts", 2, "--drop-changed")) == 0
        assert f"dropped: {gone}" in capsys.readouterr().err
        assert command("finish", out, "--workers", 1) == 0
    else:
        named = ("--input", *paths)  # the name of the file that is gone matches nothing
        assert command("prepare", *named, *line(out)[3:]) == 2
        assert "--drop-changed" in capsys.readouterr().err
        assert command("prepare", *named, *line(out)[3:], "--drop-changed") == 0
    assert len(read_manifest(out).sources) == 3 and not (tmp_path / "out.partial").exists()
    if replaced:
        assert command(*line(out, "--append")) == 0
        assert [Path(source.path).name for source in read_manifest(out).sources][-1] == "1.csv"
    else:
        assert command(*line(out)) == 0, "it is complete: the same files and options"
        whole = tmp_path / "whole"
        assert command(*line(whole)) == 0
        eos = read_manifest(whole).tokenizer.pad_id
        assert [t for t in tokens(out) if t != eos] == [t for t in tokens(whole) if t != eos]


def test_finish_drops_files_of_units_that_are_missing(
    command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    paths = [write_rows(tmp_path / f"in/{n}.csv", many_texts(9, seed=n)) for n in range(4)]
    out = tmp_path / "out"
    line = ("prepare", "--input", tmp_path / "in", "--output", out, "--unit-bytes", 1)
    line += ("--validation-fraction", 0, "--workers", 1, "--parts", 3, "--row-length", 64)
    line += ("--tokenizer", bert_tokenizer)
    assert command(*line, "--part", 1) == 0 and command(*line, "--part", 2) == 0
    plan = read_plan(tmp_path / "out.partial/work/plan.json")
    for path in paths[:3]:
        path.unlink()
    assert command("finish", out) == 2
    assert "units are not prepared yet" in capsys.readouterr().err
    assert command("finish", out, "--drop-changed", "--workers", 1) == 2
    told = capsys.readouterr().err
    assert f"dropped: {paths[0]} is gone" in told and "units are not prepared yet" in told
    assert len(plan.units) > 8
    assert command(*line, "--part", 3, "--drop-changed") == 0
    assert command("finish", out, "--workers", 1) == 0
    assert [source.path for source in read_manifest(out).sources] == [str(paths[3])]


def test_a_dropped_file_is_named_each_time_and_a_refused_request_drops_nothing(
    command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    paths = [write_rows(tmp_path / f"in/{n}.csv", many_texts(9, seed=n)) for n in range(3)]
    out = tmp_path / "out"
    line = ("prepare", "--input", tmp_path / "in", "--output", out, "--workers", 1)
    line += ("--tokenizer", bert_tokenizer)
    first = ("--part", 1, "--parts", 2)
    assert command(*line, *first) == 0
    away = paths[1].rename(tmp_path / "away.csv")
    plan = read_plan(tmp_path / "out.partial/work/plan.json")
    capsys.readouterr()
    assert command(*line, *first, "--drop-changed", "--row-length", 256) == 2
    told = capsys.readouterr().err
    assert "--row-length was 512, is now 256" in told and "dropped: " not in told
    assert read_plan(tmp_path / "out.partial/work/plan.json") == plan
    assert command(*line, *first, "--drop-changed") == 0
    away.rename(paths[1])
    capsys.readouterr()
    assert command(*line) == 0
    again = f"dropped before: {paths[1]}; it is there again: add it with --append"
    assert again in capsys.readouterr().err
    assert len(read_manifest(out).sources) == 2


def test_files_of_the_shards_are_not_new_to_an_append(
    command: Command, tmp_path: Path, bert_tokenizer: Path
) -> None:
    write_rows(tmp_path / "in/0.csv", many_texts(9, seed=0))
    out = tmp_path / "out"
    line = ("prepare", "--input", tmp_path / "in", "--output", out, "--workers", 1)
    line += ("--tokenizer", bert_tokenizer, "--row-length", 64)
    assert command(*line) == 0
    gone, stays = (write_rows(tmp_path / f"in/{n}.csv", many_texts(9, seed=n)) for n in (1, 2))
    assert command(*line, "--append", "--part", 1, "--parts", 2) == 0
    gone.unlink()
    assert command(*line, "--append") == 2
    assert command(*line, "--append", "--drop-changed") == 0
    assert [source.path for source in read_manifest(out).sources][1:] == [str(stays)]


def test_new_files_are_refused_with_a_way_on(
    command: Command, tmp_path: Path, bert_tokenizer: Path, capsys
) -> None:
    write_rows(tmp_path / "in/a.csv", many_texts(9))
    out = tmp_path / "out"
    line = ("prepare", "--input", tmp_path / "in", "--output", out, "--workers", 1)
    line += ("--tokenizer", bert_tokenizer)
    assert command(*line, "--part", 1, "--parts", 2) == 0
    new = write_rows(tmp_path / "in/b.csv", many_texts(9))
    assert command(*line, "--drop-changed") == 2
    assert f"{new} is new; leave new files out of --input now" in capsys.readouterr().err
    assert command(*line) == 2
    told = capsys.readouterr().err
    assert "add them with --append when it is done" in told and "--drop-changed" not in told
    assert command(*line, "--drop-changed", "--restart") == 2
    assert "exclude each other" in capsys.readouterr().err
