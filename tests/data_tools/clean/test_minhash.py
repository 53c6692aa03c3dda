"""MinHash signatures, and the keys of their bands."""

from __future__ import annotations

import datasketch
import numpy as np
import pytest
import xxhash

from data_tools.clean.minhash import band_keys, compact, shingle_hashes, signatures
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


def test_a_document_without_text_has_no_shingle() -> None:
    block = make_block(["", " \u3000\n", "字"])
    ones = np.ones(8, np.uint32)
    _, counts = signatures(block.data, block.begins, block.ends, ones, ones)
    assert counts.tolist() == [0, 0, 1]


def test_bytes_of_signatures_are_equal_by_chance_once_in_256_times() -> None:
    values = np.random.default_rng(0).integers(0, 2**26, (2, 1 << 16), np.uint32)  # of small values
    one, other = compact(values)
    assert one.dtype == np.uint8 and (compact(values)[0] == one).all()
    assert abs((one == other).mean() - 1 / 256) < 0.001


@pytest.mark.parametrize("place", range(7))
def test_a_value_changes_the_key_of_its_own_band_alone(place: int) -> None:
    """Two bands of three values; the seventh value is in no band."""
    before = np.arange(7, dtype=np.uint8)[None]
    after = before.copy()
    after[0, place] += 1
    keys = [[band_keys(values, band, 3)[0] for band in (0, 1)] for values in (before, after)]
    changed = [old != new for old, new in zip(*keys, strict=True)]
    assert changed == [place < 3, 3 <= place < 6]
    swapped = band_keys(before[:, [1, 0, 2, 3, 4, 5, 6]], 0, 3)
    assert swapped[0] != keys[0][0]  # the order of the values counts


def test_shingles_of_two_texts_are_equal_where_their_runs_of_characters_are() -> None:
    texts = [*TEXTS, POEM * 3, POEM[3:], "ab\u3000\u2028c d\ne", "abcde", "é", "éé", "", " \n"]
    block = make_block(texts)
    hashes = [
        set(shingle_hashes(block.data, begin, end).tolist())
        for begin, end in zip(block.begins.tolist(), block.ends.tolist(), strict=True)
    ]
    for one, a in zip(texts, hashes, strict=True):
        assert len(a) == (len(shingles(one)) if one.strip() else 0), one
        for other, b in zip(texts, hashes, strict=True):
            if one.strip() and other.strip():
                assert len(a & b) == len(shingles(one) & shingles(other)), (one, other)
