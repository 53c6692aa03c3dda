"""Every byte and document is accounted for, or a sentence says where the sums do not agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledgers import make_ledger, make_source

from data_tools.shards.ledger import by_kind, check_ledger, kind, ledger_faults, total
from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import EMPTY, EXACT, KEPT, STRUCTURE, Count, Manifest

SOURCE = make_source(
    "a.csv", {KEPT: (3, 80), EMPTY: (1, 9), STRUCTURE: (0, 11)}, characters=30, tokens=20
)


def changed(**values: object) -> Manifest:
    """Return a balanced manifest with other values in its source."""
    manifest = make_ledger([SOURCE])
    return replace(manifest, sources=(replace(SOURCE, **values),))  # type: ignore[arg-type]


def changed_split(**values: object) -> Manifest:
    manifest = make_ledger([SOURCE])
    train = replace(manifest.splits["train"], **values)  # type: ignore[arg-type]
    return replace(manifest, splits=manifest.splits | {"train": train})


def test_sums_that_agree_have_no_fault() -> None:
    check_ledger(make_ledger([SOURCE, replace(SOURCE, path="b.csv")]))
    check_ledger(make_ledger([]))


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        (
            changed(records=5),
            "a.csv: 5 records and 100 bytes were read, but 4 records and 100 bytes accounted for",
        ),
        (changed(bytes=101), "a.csv has 101 bytes, but 100 were read"),
        (changed(characters=31), "31 characters in the sources, but 30 in the splits"),
        (changed(tokens=19), "19 tokens in the sources, but 20 in the splits"),
        (changed_split(documents=4), "3 documents kept of the sources, but 4 in the splits"),
        (changed_split(shards=()), "train: 3 rows, but 0 in its shards"),
        (changed_split(padding=5), "train: 5 padding, but 4 in its shards"),
    ],
)
def test_each_sum_that_does_not_agree_is_named(manifest: Manifest, fault: str) -> None:
    assert fault in ledger_faults(manifest)
    with pytest.raises(UserError, match=r"does not sum up to 100 %.*no shards were written"):
        check_ledger(manifest)


@pytest.mark.parametrize(
    "values", [{"compression": "gzip"}, {"encoding": "gb18030"}, {"format": "parquet"}]
)
def test_a_file_that_is_decoded_may_have_another_size_than_was_read(values: dict) -> None:
    assert ledger_faults(changed(bytes=50, **values)) == []


def test_rows_of_chunks_hold_two_tokens_less_and_what_was_dropped() -> None:
    manifest = replace(changed_split(dropped_tokens=2), packing="zero_nlp")
    assert ledger_faults(manifest) == []  # 3 rows of 8 - 2, and 2 of the 20 tokens
    assert ledger_faults(replace(changed_split(dropped_tokens=3), packing="zero_nlp")) == [
        "train: 20 tokens, but 21 in rows or dropped"
    ]


def test_fates_are_summed_in_the_order_of_their_kinds() -> None:
    other = make_source("b.csv", {"set aside: b": (1, 1), "filtered: z": (1, 2), KEPT: (1, 3)})
    more = make_source("c.csv", {"filtered: a": (2, 4), EXACT: (1, 5), "set aside: b": (1, 6)})
    sums = total([other, more])
    assert list(sums) == [KEPT, EXACT, "filtered: a", "filtered: z", "set aside: b"]
    assert sums["set aside: b"] == Count(documents=2, bytes=7)
    assert [kind(fate) for fate in sums] == [KEPT, EXACT, *["filtered: "] * 2, "set aside: "]
    kinds = by_kind(sums)
    assert kinds["filtered: "] == Count(documents=3, bytes=6) and kinds[EMPTY] == Count()
