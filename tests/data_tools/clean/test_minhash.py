"""MinHash signatures, and the keys of their bands."""

from __future__ import annotations

import datasketch
import numpy as np
import pytest
import xxhash

from data_tools.clean.minhash import band_keys, signatures
from data_tools.clean.near import PERMUTATIONS

from .conftest import POEM, make_block, shingles

TEXTS = ("短", "四个字。", "五个字吧。", POEM, "cafe\u0301 and ASCII\r\n" * 3, "😀𠀀龘" * 9)


def test_signatures_equal_those_of_datasketch() -> None:
    texts = [*TEXTS, POEM * 20, "ab\u3000\u2028c d\ne", "é", "éé", "ééé", "éééé", "ééééé"]
    sketch = datasketch.MinHash(
        PERMUTATIONS,
        seed=1,
        scheme="affine32",
        hashfunc=lambda text: xxhash.xxh32_intdigest(text.encode("utf-32-le")),
    )
    block = make_block(texts)
    factors, summands = np.ascontiguousarray(sketch.permutations)
    found, counts = signatures(block.data, block.begins, block.ends, factors, summands)
    for text, row in zip(texts, found, strict=True):
        fresh = sketch.copy()
        fresh.update_batch(shingles(text))
        assert row.tolist() == fresh.hashvalues.tolist(), text
    assert counts.tolist()[:4] == [1, 1, 1, len("".join(POEM.split())) - 4]


def test_a_document_without_text_has_no_shingle_and_no_key() -> None:
    block = make_block(["", " \u3000\n", "字"])
    ones = np.ones(8, np.uint32)
    smallest, counts = signatures(block.data, block.begins, block.ends, ones, ones)
    assert counts.tolist() == [0, 0, 1]
    keys = band_keys(smallest, counts, 4, 2)
    assert not keys[:2].any() and keys[2].all()


@pytest.mark.parametrize("place", range(7))
def test_a_value_changes_the_key_of_its_own_band_alone(place: int) -> None:
    """Two bands of three values; the seventh value is in no band."""
    before = np.arange(7, dtype=np.uint32)[None]
    after = before.copy()
    after[0, place] += 1
    keys = [band_keys(values, np.ones(1, np.int64), 2, 3)[0] for values in (before, after)]
    assert (keys[0] != keys[1]).tolist() == [place < 3, 3 <= place < 6]
    swapped = band_keys(before[:, [1, 0, 2, 3, 4, 5, 6]], np.ones(1, np.int64), 2, 3)[0]
    assert swapped[0] != keys[0][0]  # the order of the values counts
