"""Shards of a unit, of the documents that stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_tools.clean.near import PERMUTATIONS
from data_tools.config import FinishConfig
from data_tools.prepare.formats import DOCUMENTS_TABLE, is_finished, read_unit
from data_tools.prepare.pack import begin_packing, pack_unit, take_documents
from data_tools.prepare.run import finish, run
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import read_manifest

from .conftest import Begin

TEXTS = ["从前有座山", "短", "从前有座山", "山里有座庙"]


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [
        ([True, False, True, True], [1, 2, 6]),
        ([False] * 4, []),
        ([True] * 4, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_tokens_of_chosen_documents_are_copied(chosen: list[bool], taken: list[int]) -> None:
    counts = np.array([2, 3, 0, 1])
    out = np.empty(len(taken), np.uint16)
    take_documents(np.arange(1, 7, dtype=np.uint16), counts, np.array(chosen), out)
    assert out.tolist() == taken


def test_a_packed_unit_holds_what_stays_and_its_draft_is_gone(begin: Begin) -> None:
    work = begin(TEXTS).draft().decide()
    done: list[int] = []
    pack_unit(begin_packing(work.folder.output), 0, done.append)
    assert done == [work.sources[0].bytes]
    assert is_finished(work.plan, work.folder, work.plan.unit(0))
    table = pq.read_table(work.folder.path / "documents-00000.parquet")
    assert table.schema.equals(DOCUMENTS_TABLE) and table["line"].to_pylist() == [2, 3, 5]
    left = sorted(path.suffix for path in work.folder.drafts.glob("00000.*"))
    assert left == [".json", ".set_aside"]
    record = read_unit(work.folder, 0)
    train = record["splits"]["train"]
    assert (train["documents"], train["tokens"], train["rows"]) == (3, 14, 2)
    assert not record["splits"]["validation"]["shards"]
    (source,) = record["sources"].values()
    assert (source["characters"], source["tokens"]) == (11, 14)
    assert {fate: count["documents"] for fate, count in source["fates"].items()} == {
        "kept": 3,
        "exact duplicate": 1,
        "near duplicate": 0,
    }


def test_signatures_of_the_documents_that_stay_are_kept(begin: Begin) -> None:
    work = begin(TEXTS, near_duplicates="drop").draft().decide()
    drafted = np.fromfile(work.folder.draft(0, "signatures"), np.uint8).reshape(4, -1)
    work.pack()
    kept = np.fromfile(work.folder.path / "near-00000.u8", np.uint8)
    assert kept.reshape(-1, PERMUTATIONS).tolist() == drafted[[0, 1, 3]].tolist()


def test_a_damaged_draft_is_removed_so_that_it_is_made_again(begin: Begin) -> None:
    work = begin(TEXTS).draft().decide()
    tokens = work.folder.draft(0, "tokens")
    tokens.write_bytes(b"x" + tokens.read_bytes()[1:])
    message = (
        r"00000\.tokens was damaged.* run prepare again .*; after work in parts, run the parts"
    )
    with pytest.raises(UserError, match=message):
        work.pack()
    assert not work.folder.draft(0, "json").exists() and not work.folder.unit(0).exists()
    assert work.draft().pack().folder.unit(0).exists()


def test_what_the_message_about_a_damaged_draft_advises_helps_after_parts(begin: Begin) -> None:
    work = begin(TEXTS)
    part = replace(work.config, part=1, parts=1, workers=1)
    run(part)
    tokens = work.folder.draft(0, "tokens")
    tokens.write_bytes(b"x" + tokens.read_bytes()[1:])
    for message in ("run the parts again", "not prepared yet"):  # finish alone does not help
        with pytest.raises(UserError, match=message):
            finish(FinishConfig(shards=work.config.output, workers=1))
    run(part)
    finish(FinishConfig(shards=work.config.output, workers=1))
    assert read_manifest(work.config.output).splits["train"].documents == 3
