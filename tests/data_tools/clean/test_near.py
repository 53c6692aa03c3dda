from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_tools.clean import near
from data_tools.clean.minhash import band_keys
from data_tools.clean.near import PERMUTATIONS, Signer, band_shape, find_clusters, share_found
from gpt2zh.config.errors import UserError

from .conftest import POEM, make_block, shingles

GOLDEN_TEXTS = ("短", "四个字。", "五个字吧。", POEM, "cafe\u0301 and ASCII\r\n" * 3, "😀𠀀龘" * 9)
GOLDEN = "5af19e8bc245181c"


def sign(texts: list[str]) -> np.ndarray:
    return Signer()(make_block(texts), np.ones(len(texts), bool))


def columns(keys: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda band: np.ascontiguousarray(keys[:, band])


def clusters(keys: list[list[int]], asked: list[int], others: list[int] | None = None) -> list[int]:
    """Return the first document of the cluster of each, given the keys of each."""
    table = np.array(keys, np.uint64)
    numbers = np.arange(len(table))
    chosen = None if others is None else np.isin(numbers, others)
    return find_clusters(columns(table), table.shape[1], np.isin(numbers, asked), chosen).tolist()


def candidates(texts: list[str], threshold: float) -> np.ndarray:
    """Return which texts share a key with an earlier one."""
    signed = sign(texts)
    bands, rows = band_shape(threshold)
    found = find_clusters(
        lambda band: band_keys(signed, band, rows), bands, np.ones(len(texts), bool)
    )
    return found != np.arange(len(texts))


def similarity(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def golden(signed: np.ndarray) -> str:
    return hashlib.sha256(signed.tobytes()).hexdigest()[:16]


@pytest.mark.slow
def test_signatures_stay_those_that_shards_hold() -> None:
    assert golden(sign(list(GOLDEN_TEXTS))) == GOLDEN


@pytest.mark.slow
def test_signatures_do_not_depend_on_processor_or_process(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from data_tools.clean.near import Signer\n"
        "from data_tools.sources.block import Block, join_spans\n"
        "import numpy as np\n"
        "texts = sys.argv[1:]\n"
        "data, begins, ends = join_spans([text.encode() for text in texts])\n"
        "block = Block(data, begins, ends, begins, begins)\n"
        "sys.stdout.buffer.write(Signer()(block, np.ones(len(texts), bool)).tobytes())\n"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "NUMBA_CPU_NAME": "generic",  # no vector instructions but the oldest
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *GOLDEN_TEXTS],
        env=environment,
        capture_output=True,
        check=True,
    )
    keys = np.frombuffer(done.stdout, np.uint8).reshape(len(GOLDEN_TEXTS), -1)
    assert golden(keys) == GOLDEN


def test_other_permutations_of_a_future_library_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(near, "_DIGEST", "0" * 16)
    with pytest.raises(UserError, match=r"draws other permutations .* pip install datasketch=="):
        Signer()


def test_one_byte_per_permutation_of_each_chosen_document() -> None:
    texts = [POEM, POEM * 2, ""]
    signed = Signer()(make_block(texts), np.array([False, True, False]))
    assert signed.shape == (1, PERMUTATIONS) and signed.dtype == np.uint8
    assert (signed == sign([POEM * 2])).all()
    assert Signer()(make_block(texts), np.zeros(3, bool)).shape == (0, PERMUTATIONS)


def test_white_space_makes_no_difference_and_short_texts_must_be_equal() -> None:
    one, spread, short, shorter, longer = sign(
        [POEM, " \n".join(POEM), "举头望月", "举头望", "举头望月。"]
    )
    assert (one == spread).all()
    for a, b in ((short, shorter), (short, longer), (shorter, longer)):
        assert (a == b).mean() < 0.05
    assert (sign(["举头 望月"])[0] == short).all()


@pytest.mark.parametrize(
    ("threshold", "shape"),
    [(0.5, (42, 3)), (0.7, (21, 6)), (0.8, (16, 8)), (0.9, (9, 14)), (1.0, (1, 128))],
)
def test_bands_follow_from_the_threshold(threshold: float, shape: tuple[int, int]) -> None:
    assert band_shape(threshold) == shape
    assert share_found(threshold, *shape) >= near.FOUND


@pytest.mark.parametrize("wanted", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_pairs_are_found_as_often_as_the_curve_says(wanted: float) -> None:
    generator = np.random.default_rng(11)
    pairs, length = 300, 604
    shared = round(2 * (length - 4) * wanted / (1 + wanted)) + 4
    texts = []
    for _ in range(pairs):
        signs = "".join(map(chr, generator.integers(0x4E00, 0x9FA5, 2 * length - shared)))
        texts += [signs[:length], signs[:shared] + signs[length:]]
    assert similarity(*texts[:2]) == pytest.approx(wanted, abs=0.005)
    copies = candidates(texts, 0.8)
    assert not copies[::2].any()  # the first of each pair stays
    expected = share_found(wanted, *band_shape(0.8))
    deviation = np.sqrt(expected * (1 - expected) / pairs)
    assert abs(copies[1::2].mean() - expected) <= 3 * deviation + 0.01


def test_texts_that_share_little_are_no_candidates() -> None:
    generator = np.random.default_rng(3)
    texts = ["".join(map(chr, generator.integers(0x4E00, 0x4E40, 60))) for _ in range(2000)]
    assert candidates(texts, 0.7).sum() <= 1


def test_clusters_are_joined_by_a_chain_over_several_bands() -> None:
    assert clusters([[1], [2], [1], [2], [3], [1]], [0, 1, 2, 3, 4, 5]) == [0, 1, 0, 1, 4, 0]
    assert clusters([[1, 9], [2, 8], [3, 8], [3, 9], [4, 7]], [0, 1, 2, 3, 4]) == [0, 0, 0, 0, 4]
    assert clusters([[1], [1], [1]], asked=[1, 2]) == [0, 1, 1]
    assert find_clusters(columns(np.zeros((0, 3), np.uint64)), 3, np.zeros(0, bool)).tolist() == []


def test_others_join_only_where_they_share_a_key_with_an_asked_one() -> None:
    keys = [[1, 10], [2, 10], [3, 11], [3, 12], [4, 12]]
    assert clusters(keys, asked=[1], others=[0, 2, 3, 4]) == [0, 0, 2, 3, 4]
    assert clusters(keys, asked=[3], others=[0, 1, 2, 4]) == [0, 1, 2, 2, 2]
    assert clusters(keys, asked=[], others=[0, 1, 2, 3, 4]) == [0, 1, 2, 3, 4]


def test_clusters_are_those_of_a_plain_search_and_one_band_is_held_at_a_time() -> None:
    generator = np.random.default_rng(2)
    keys = generator.integers(0, 400, (500, 3)).astype(np.uint64)
    asked: list[int] = []

    def bands(band: int) -> np.ndarray:
        asked.append(band)
        return keys[:, band].copy()

    taking_part = generator.random(500) >= 0.2
    found = find_clusters(bands, 3, taking_part)
    assert asked == [0, 1, 2]
    cluster = list(range(500))
    for _ in range(500):
        before = list(cluster)
        for band in range(3):
            smallest: dict[int, int] = {}
            rows = np.flatnonzero(taking_part).tolist()
            for row in rows:
                key = int(keys[row, band])
                smallest[key] = min(smallest.get(key, row), cluster[row])
            for row in rows:
                cluster[row] = min(cluster[row], smallest[int(keys[row, band])])
        if cluster == before:
            break
    assert found.tolist() == cluster
