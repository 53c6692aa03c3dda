"""Drafts: the documents of a unit, read, cleaned and encoded, and what became of the others."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_tools.clean.near import PERMUTATIONS
from data_tools.prepare.draft import begin_drafts, make_draft
from data_tools.prepare.formats import DRAFT_TABLE, NEAR_KINDS, has_draft, read_draft
from data_tools.shards.split import document_hash
from data_tools.sources import source
from gpt2zh.config.errors import UserError

from .conftest import Begin

TEXTS = ["从前有座山", "", "短", "山里有座庙", "从前有座山", " \n"]


def test_a_draft_holds_tokens_and_a_line_for_each_document(begin: Begin) -> None:
    work = begin(TEXTS, validation_fraction=0.5).draft()
    kept = [text for text in TEXTS if text.strip()]
    table = pq.read_table(work.folder.draft(0, "documents"))
    assert table.schema.equals(DRAFT_TABLE)
    hashes = [document_hash(text.encode()) for text in kept]
    assert table["hash"].to_pylist() == hashes
    assert table["validation"].to_pylist() == [value < 2**63 for value in hashes]
    assert table["line"].to_pylist() == [2, 4, 5, 6]
    assert table["characters"].to_pylist() == [len(text) for text in kept]
    assert table["tokens"].to_pylist() == [len(text) + 1 for text in kept]  # and eos
    tokens = np.fromfile(work.folder.draft(0, "tokens"), np.uint16).tolist()
    ids = work.tokenizer.encode_batch(kept)
    assert tokens == [token for text in ids for token in (*text, work.tokenizer.eos_id)]


def test_every_byte_of_the_input_has_a_fate(begin: Begin) -> None:
    work = begin(TEXTS, min_characters=2).draft()
    record = read_draft(work.folder, 0)
    (part,) = record["slices"]
    fates = {fate: count["documents"] for fate, count in part["fates"].items()}
    assert fates == {"structure": 0, "empty": 2, "filtered: too short": 1}
    assert (part["records"], record["documents"]) == (6, 3)
    kept = sum(pq.read_table(work.folder.draft(0, "documents"))["bytes"].to_pylist())
    lost = sum(count["bytes"] for count in part["fates"].values())
    assert kept + lost == part["read"] == work.sources[0].bytes == part["extent"]["end"]


def test_broken_records_are_listed_and_unknown_texts_counted(begin: Begin) -> None:
    work = begin(
        ["短鱻鱻", "坏", "短鱻"], damage=("坏".encode(), b"\xff"), encoding="utf-8"
    ).draft()
    assert read_draft(work.folder, 0)["unknown"] == {"鱻": 3}
    (line,) = work.folder.draft(0, "set_aside").read_text("utf-8").splitlines()
    entry = json.loads(line)
    path = work.sources[0].path.as_posix()
    assert (entry["file"], entry["line"], entry["reason"]) == (path, 3, "bad UTF-8")
    fates = read_draft(work.folder, 0)["slices"][0]["fates"]
    assert fates["set aside: bad UTF-8"] == {"documents": 1, "bytes": entry["size"]}


@pytest.mark.parametrize("near", ["keep", "drop", "validation"])
def test_what_is_compared_of_near_duplicates_is_written_only_where_it_is_needed(
    begin: Begin, near: str
) -> None:
    folder = begin(TEXTS, near_duplicates=near).draft().folder
    sizes = read_draft(folder, 0)["sizes"]
    if near == "keep":
        assert not sizes.keys() & set(NEAR_KINDS)
        return
    texts = [text.encode() for text in TEXTS if text.strip()]
    assert folder.draft(0, "texts").read_bytes() == b"".join(texts)
    assert np.fromfile(folder.draft(0, "text_sizes"), np.int64).tolist() == [*map(len, texts)]
    assert sizes["signatures"] == PERMUTATIONS * len(texts)


def test_unknown_texts_are_counted_by_unit(begin: Begin) -> None:
    work = begin(["短鱻", "座山"], unit_bytes=1).draft()
    found = [read_draft(work.folder, unit.number)["unknown"] for unit in work.plan.units]
    assert found == [{}, {"鱻": 1}, {}]


def test_progress_adds_up_to_the_bytes_of_the_unit(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BLOCK_DOCUMENTS", 2)  # so that a slice is several blocks
    work = begin(TEXTS, TEXTS)
    done: list[int] = []
    make_draft(begin_drafts(work.folder.output), 0, done.append)
    assert sum(done) == work.plan.unit(0).bytes == 2 * work.sources[0].bytes


def test_a_file_that_changes_meanwhile_leaves_no_draft(begin: Begin) -> None:
    work = begin(TEXTS)
    os.utime(work.sources[0].path, ns=(0, 0))
    with pytest.raises(UserError, match=r"0\.csv was changed while it was read"):
        work.draft()
    assert not has_draft(work.plan, work.folder, work.plan.unit(0))
    assert list(work.folder.drafts.iterdir()) == []
