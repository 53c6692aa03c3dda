"""The shards of one split of one unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_tools.prepare.split_writer import SplitWriter, make_packer
from gpt2zh.config.errors import UserError
from gpt2zh.data.packing import FullPacker, ZeroNlpPacker
from gpt2zh.data.shard import Shard

from .conftest import Begin


def test_the_packing_decides_on_the_packer(begin: Begin) -> None:
    work = begin(["短"])
    chunks = replace(work.config, packing="zero_nlp")
    assert isinstance(make_packer(work.config, work.plan.tokenizer), FullPacker)
    assert isinstance(make_packer(chunks, work.plan.tokenizer), ZeroNlpPacker)
    for missing in ("cls_id", "sep_id"):
        tokenizer = replace(work.plan.tokenizer, **{missing: None})
        with pytest.raises(UserError, match=r"does not have; use --tokenizer bert-base-chinese"):
            make_packer(chunks, tokenizer)


def test_rows_are_dealt_to_shards_of_the_wanted_size(begin: Begin) -> None:
    """Documents of 8, 20 and 15 tokens make 6 rows of 8; a shard has 2 of them."""
    work = begin(["短"], shard_rows=2)
    writer = SplitWriter(work.plan, work.folder.path, "train", unit=7)
    ids = np.arange(3, 46, dtype=np.uint16)
    writer.add(ids[:28], np.array([8, 20]), characters=50)
    writer.add(ids[28:], np.array([15]), characters=9)
    split = writer.finish()
    assert (split.documents, split.characters, split.tokens) == (3, 59, 43)
    assert (split.rows, split.padding) == (6, 5)
    assert [(shard.file, shard.rows) for shard in split.shards] == [
        (f"train-00007-{number:03d}.arrow", 2) for number in range(3)
    ]
    assert [(shard.unit, shard.padding) for shard in split.shards] == [(7, 0), (7, 0), (7, 5)]
    written = [Shard(work.folder.path / shard.file).tokens for shard in split.shards]
    pad = [work.plan.tokenizer.pad_id] * 5
    assert np.concatenate(written).reshape(-1).tolist() == [*ids.tolist(), *pad]


def test_a_split_without_documents_has_no_shard(begin: Begin) -> None:
    work = begin(["短"])
    split = SplitWriter(work.plan, work.folder.path, "validation", unit=0).finish()
    assert (split.documents, split.rows, split.padding, split.shards) == (0, 0, 0, ())
    assert not list(work.folder.path.glob("*.arrow"))


def test_what_chunks_leave_over_is_counted_as_dropped(begin: Begin) -> None:
    work = begin(["短"], packing="zero_nlp")
    writer = SplitWriter(work.plan, work.folder.path, "train", unit=0)
    writer.add(np.arange(5, 18, dtype=np.uint16), np.array([8, 5]), characters=13)
    split = writer.finish()
    assert (split.rows, split.dropped_tokens, split.dropped_documents) == (1, 7, 1)
