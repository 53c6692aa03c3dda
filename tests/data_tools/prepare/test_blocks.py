"""Parts of documents that are held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from data_tools.prepare.blocks import (
    BlockRule,
    Cutting,
    block_hashes,
    choose_rule,
    cut_documents,
)
from data_tools.prepare.formats import DRAFT_TABLE, IS_EXACT, STAYS
from gpt2zh.data.manifest import KEPT

from .conftest import Begin, long_text


def test_blocks_are_chosen_by_text_alone_about_the_share_and_at_least_one() -> None:
    documents = [(7, 5000), (8, 3000)]
    rule, again = choose_rule(documents, 10, 0.1), choose_rule(documents[::-1], 10, 0.1)
    assert rule is not None and rule == again
    held = [rule.held_out(*document) for document in documents]
    assert [len(part) for part in held] == [500, 300] and sum(map(sum, held)) == 80
    few = choose_rule([(7, 25)], 10, 0.001)
    assert few is not None and few.held_out(7, 25).sum() == 1
    most = choose_rule([(7, 25)], 10, 0.999)
    assert most is not None and most.held_out(7, 25).sum() == 1
    assert choose_rule([(7, 19)], 10, 0.5) is None and choose_rule([], 10, 0.5) is None


def test_a_rule_never_holds_out_every_block_also_where_hashes_are_equal() -> None:
    assert choose_rule([(7, 15), (7, 15)], 10, 0.5) is None  # one text twice, one block each
    rule = choose_rule([(7, 15), (7, 15), (8, 15), (8, 15)], 10, 0.99)
    assert rule is not None
    assert sorted(rule.held_out(document, 15).sum() for document in (7, 8)) == [0, 1]


def test_hashes_of_blocks_differ() -> None:
    hashes = np.concatenate([block_hashes(document, 1000, 1) for document in range(50)])
    assert len(np.unique(hashes)) == 50_000
    assert abs((hashes < 2**63).mean() - 0.5) < 0.01


def draft(tokens: list[int]) -> pa.RecordBatch:
    rows = [[0, n + 1, 10 * count, count, count, n, False] for n, count in enumerate(tokens)]
    return pa.record_batch(
        [pa.array([row[n] for row in rows], field.type) for n, field in enumerate(DRAFT_TABLE)],
        schema=DRAFT_TABLE,
    )


@pytest.mark.parametrize("closing", [1, None])
def test_a_cut_document_holds_the_same_tokens_and_bytes(closing: int | None) -> None:
    batch, ids = draft([23, 9, 40]), np.arange(2, 74, dtype=np.uint16)
    if closing:
        ids[[22, 31, 71]] = closing
    rule = choose_rule([(0, 22), (2, 39)], 5, 0.4)
    assert rule is not None
    decision = np.array([STAYS, IS_EXACT, STAYS])
    cut = cut_documents(batch, ids, decision, Cutting(rule, closing, lambda ids: "x" * len(ids)))
    table = cut.table.to_pydict()
    assert cut.table.schema == DRAFT_TABLE and len(set(table["validation"])) == 2
    assert sorted(set(cut.documents.tolist())) == [0, 1, 2] and list(cut.documents).count(1) == 1
    whole: dict[int, list[int]] = {0: [], 1: [], 2: []}
    begin = 0
    for owner, count in zip(cut.documents.tolist(), table["tokens"], strict=True):
        part = cut.ids[begin : begin + count].tolist()
        begin += count
        assert closing is None or part[-1] == closing
        whole[owner] += part if closing is None else part[:-1]
    assert begin == len(cut.ids)
    assert [i for part in whole.values() for i in part] == [i for i in ids.tolist() if i != closing]
    for name in ("bytes", "characters"):
        sums = np.bincount(cut.documents, table[name])
        assert sums.tolist() == batch[name].to_pylist()


def test_one_novel_is_held_out_by_blocks_and_the_ledger_sums_up(begin: Begin) -> None:
    novel = "".join(long_text(seed) for seed in range(10))
    work = begin([novel], validation_fraction=0.02, near_duplicates="drop")
    manifest = work.finish()
    train, held = manifest.splits["train"], manifest.splits["validation"]
    assert manifest.split_rule.block_tokens == 7
    assert held.rows == round(0.02 * (3000 // 7)) and held.padding == 0
    assert train.characters + held.characters == 3000
    (source,) = manifest.sources
    assert source.records == source.fates[KEPT].documents == train.documents + held.documents


@pytest.mark.parametrize("ids", [[], [5]])
def test_a_document_of_one_part_keeps_its_bytes_also_without_a_token(ids: list[int]) -> None:
    batch = draft([len(ids)])
    own = np.array(ids, np.uint16)
    batch = batch.set_column(2, batch.schema.field(2), pa.array([6], pa.int64()))
    cutting = Cutting(BlockRule(5, 2**63), None, lambda ids: "x" * len(ids))
    cut = cut_documents(batch, own, np.array([STAYS]), cutting)
    assert cut.table["bytes"].to_pylist() == [6] and len(cut.ids) == len(ids)


def test_a_document_without_tokens_is_kept_next_to_a_novel_that_is_cut(begin: Begin) -> None:
    options = {"packing": "zero_nlp", "row_length": 16, "validation_fraction": 0.1}
    manifest = begin([long_text(0) + long_text(1), "\u200b\u200b"], **options).finish()
    assert manifest.split_rule.block_tokens == 14 and manifest.splits["validation"].rows
    (source,) = manifest.sources
    assert source.records == source.fates[KEPT].documents


def test_enough_documents_are_held_out_as_a_whole(begin: Begin) -> None:
    texts = [long_text(seed) for seed in range(40)]
    manifest = begin(texts, validation_fraction=0.2).finish()
    assert manifest.split_rule.block_tokens == 0
    assert sum(split.documents for split in manifest.splits.values()) == 40


def test_a_copy_of_the_novel_is_not_appended_and_other_novels_are(begin: Begin) -> None:
    novel, other = (long_text(seed) + long_text(seed + 9) for seed in range(2))
    base = begin([novel], validation_fraction=0.05).finish()
    grown = begin([novel, other], base=base, validation_fraction=0.05).finish()
    assert grown.split_rule == base.split_rule
    assert grown.splits["validation"].shards[0] == base.splits["validation"].shards[0]
    assert grown.sources[1].fates["exact duplicate"].documents == 1


def test_the_rule_is_a_value() -> None:
    rule = BlockRule(5, 2**63)
    assert not replace(rule, threshold=0).held_out(3, 50).any()
    assert replace(rule, threshold=2**64 - 1).held_out(3, 50).all()
