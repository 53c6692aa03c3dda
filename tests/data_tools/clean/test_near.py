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
from data_tools.clean.near import Signer, band_shape, find_leaks, find_near_copies, share_found
from gpt2zh.config.errors import UserError

from .conftest import POEM, make_block, shingles

GOLDEN_TEXTS = ("短", "四个字。", "五个字吧。", POEM, "cafe\u0301 and ASCII\r\n" * 3, "😀𠀀龘" * 9)
GOLDEN = "a0435fe967917585"


def sign(texts: list[str], threshold: float = 0.8) -> np.ndarray:
    return Signer(threshold)(make_block(texts), np.ones(len(texts), bool))


def columns(keys: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda band: np.ascontiguousarray(keys[:, band])


def find(keys: list[list[int]], dropped: tuple[int, ...] = ()) -> list[int]:
    """Return which documents are near copies, given the keys of each."""
    table = np.array(keys, np.uint64)
    out = np.isin(np.arange(len(table)), dropped)
    return np.flatnonzero(find_near_copies(columns(table), *table.shape, out)).tolist()


def leaks_of(keys: list[list[int]], held_out: list[int], dropped: tuple[int, ...] = ()) -> list:
    table = np.array(keys, np.uint64)
    numbers = np.arange(len(table))
    found = find_leaks(
        columns(table), *table.shape, np.isin(numbers, dropped), np.isin(numbers, held_out)
    )
    return np.flatnonzero(found).tolist()


def similarity(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def golden(keys: np.ndarray) -> str:
    return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()[:16]


@pytest.mark.slow
def test_signatures_are_those_of_earlier_versions() -> None:
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
        "sys.stdout.buffer.write(Signer(0.8)(block, np.ones(len(texts), bool)).tobytes())\n"
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
    keys = np.frombuffer(done.stdout, np.uint64).reshape(len(GOLDEN_TEXTS), -1)
    assert golden(keys) == GOLDEN


def test_other_permutations_of_a_future_library_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(near, "_DIGEST", "0" * 16)
    with pytest.raises(UserError, match=r"draws other permutations .* pip install datasketch=="):
        Signer(0.8)


def test_one_key_per_band_and_none_for_what_is_not_chosen() -> None:
    signer = Signer(0.8)
    texts = [POEM, POEM * 2, "", " \n\u3000"]
    keys = signer(make_block(texts), np.array([False, True, True, True]))
    assert keys.shape == (4, signer.bands) and keys.dtype == np.uint64
    assert not keys[0].any() and keys[1].all() and not keys[2:].any()
    assert (keys[1] == sign([POEM * 2])[0]).all()
    assert not signer(make_block(texts), np.zeros(4, bool)).any()


def test_white_space_makes_no_difference_and_short_texts_must_be_equal() -> None:
    one, spread, short, shorter, longer = sign(
        [POEM, " \n".join(POEM), "举头望月", "举头望", "举头望月。"]
    )
    assert (one == spread).all()
    for a, b in ((short, shorter), (short, longer), (shorter, longer)):
        assert not (a == b).any()
    assert (sign(["举头 望月"])[0] == short).all()


@pytest.mark.parametrize(
    ("threshold", "shape"),
    [(0.5, (42, 3)), (0.7, (21, 6)), (0.8, (16, 8)), (0.9, (9, 14)), (1.0, (1, 128))],
)
def test_bands_follow_from_the_threshold(threshold: float, shape: tuple[int, int]) -> None:
    assert band_shape(threshold) == shape
    assert share_found(threshold, *shape) >= near.FOUND
    assert Signer(threshold).bands == shape[0]


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
    keys = sign(texts)
    copies = find_near_copies(columns(keys), *keys.shape, np.zeros(len(texts), bool))
    assert not copies[::2].any()  # the first of each pair stays
    expected = share_found(wanted, *band_shape(0.8))
    deviation = np.sqrt(expected * (1 - expected) / pairs)
    assert abs(copies[1::2].mean() - expected) <= 3 * deviation + 0.01


def test_texts_that_share_little_are_not_near() -> None:
    generator = np.random.default_rng(3)
    texts = ["".join(map(chr, generator.integers(0x4E00, 0x4E40, 60))) for _ in range(2000)]
    keys = sign(texts, 0.5)
    assert not find_near_copies(columns(keys), *keys.shape, np.zeros(2000, bool)).any()


def test_the_first_of_a_cluster_stays() -> None:
    assert find([[1], [2], [1], [2], [3], [1]]) == [2, 3, 5]


def test_clusters_are_joined_by_a_chain_over_several_bands() -> None:
    assert find([[1, 9], [2, 8], [3, 8], [3, 9], [4, 7]]) == [1, 2, 3]


def test_no_key_and_dropped_documents_join_nothing() -> None:
    assert find([[0], [0], [5], [5]]) == [3]
    assert find([[1, 5], [1, 6], [2, 6], [3, 7]], dropped=(1,)) == []
    assert find([[1], [1], [1]], dropped=(0,)) == [2]
    assert find([[1], [1]], dropped=(0, 1)) == []
    assert (
        find_near_copies(columns(np.zeros((0, 3), np.uint64)), 0, 3, np.zeros(0, bool)).tolist()
        == []
    )


def test_clusters_are_those_of_a_plain_search_and_one_band_is_held_at_a_time() -> None:
    generator = np.random.default_rng(2)
    keys = generator.integers(0, 400, (500, 3)).astype(np.uint64)
    asked: list[int] = []

    def bands(band: int) -> np.ndarray:
        asked.append(band)
        return keys[:, band].copy()

    dropped = generator.random(500) < 0.2
    found = find_near_copies(bands, 500, 3, dropped)
    assert asked == [0, 1, 2]
    cluster = list(range(500))
    for _ in range(500):
        before = list(cluster)
        for band in range(3):
            smallest: dict[int, int] = {}
            rows = [row for row in range(500) if not dropped[row] and keys[row, band]]
            for row in rows:
                key = int(keys[row, band])
                smallest[key] = min(smallest.get(key, row), cluster[row])
            for row in rows:
                cluster[row] = min(cluster[row], smallest[int(keys[row, band])])
        if cluster == before:
            break
    assert found.tolist() == [cluster[row] != row for row in range(500)]
    assert 50 < found.sum() < 400


def test_held_out_documents_that_share_a_key_with_training_leak() -> None:
    keys = [[1, 10], [2, 10], [3, 11], [3, 12], [4, 12]]
    assert leaks_of(keys, held_out=[1, 3]) == [1, 3]
    assert leaks_of(keys, held_out=[0, 1]) == []  # near to each other only
    assert leaks_of(keys, held_out=[]) == []
    assert leaks_of(keys, held_out=[0, 1, 2, 3, 4]) == []


def test_a_leak_is_no_chain_and_dropped_documents_leak_nothing() -> None:
    keys = [[1, 10], [1, 11], [2, 11]]
    assert leaks_of(keys, held_out=[0, 1]) == [1]
    assert leaks_of(keys, held_out=[0, 1], dropped=(2,)) == []
    assert leaks_of(keys, held_out=[0, 1], dropped=(1,)) == []
    assert leaks_of([[0], [0]], held_out=[0]) == []


def test_an_edited_article_is_near_and_an_edited_quatrain_is_not() -> None:
    article = "".join(chr(0x4E00 + 7 * number) for number in range(300))
    texts = [article, article.replace(article[150], "字"), POEM, POEM.replace("疑", "宜")]
    keys = sign(texts)
    assert similarity(*texts[:2]) > 0.96 and similarity(*texts[2:]) == pytest.approx(0.6)
    assert find_near_copies(columns(keys), 4, 16, np.zeros(4, bool)).tolist()[:2] == [False, True]
    strict = sign(texts, 0.95)
    assert not find_near_copies(columns(strict), *strict.shape, np.zeros(4, bool))[3]
