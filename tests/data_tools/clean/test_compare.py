"""Candidates of near duplicates are compared: by signatures, then by their shingles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from data_tools.clean import compare
from data_tools.clean.compare import (
    Corpus,
    NearPairs,
    Roles,
    Texts,
    find_near,
)
from data_tools.clean.compare_kernel import MOST_LISTED
from data_tools.clean.minhash import band_keys
from data_tools.clean.near import Signer, band_shape

from .conftest import POEM, make_block, shingles


def similarity(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def random_text(seed: int, length: int = 300) -> str:
    return "".join(map(chr, np.random.default_rng(seed).integers(0x4E00, 0x9FA5, length)))


def changed(text: str, edits: int, seed: int = 0) -> str:
    """Change some characters, far from each other, into ones that no text has."""
    signs = list(text)
    for number in range(edits):
        signs[(7 + seed + number * len(text) // edits) % len(text)] = chr(
            0x3400 + 97 * seed + number
        )
    return "".join(signs)


def make_corpus(texts: Sequence[str], threshold: float, unknown: Sequence[int] = ()) -> Corpus:
    """Return a corpus in memory; the texts of the `unknown` documents are not at hand."""
    block = make_block(texts)
    signed = Signer()(block, np.ones(len(texts), bool))
    _, rows = band_shape(threshold)
    ends = np.where(np.isin(np.arange(len(texts)), unknown), -1, block.ends)

    def texts_of(documents: np.ndarray) -> Texts:
        return block.data, block.begins[documents], ends[documents]

    return Corpus(lambda band: band_keys(signed, band, rows), lambda rows: signed[rows], texts_of)


def drop(texts: Sequence[str], threshold: float = 0.8, unknown: Sequence[int] = ()) -> NearPairs:
    every = np.ones(len(texts), bool)
    return find_near(make_corpus(texts, threshold, unknown), threshold, Roles(every, every))


def pairs_of(found: NearPairs) -> list[tuple[int, int]]:
    return list(zip(found.dropped.tolist(), found.like.tolist(), strict=True))


def test_a_candidate_below_the_threshold_stays() -> None:
    """Twelve changes leave 0.66, of which the bands find half as candidates of 0.8."""
    for seed in range(40):
        text = random_text(seed)
        other = changed(text, 12)
        assert 0.6 < similarity(text, other) < 0.7
        assert not pairs_of(drop([text, other]))


def test_every_dropped_pair_has_the_similarity_that_it_is_listed_with() -> None:
    texts = []
    for seed in range(60):
        text = random_text(seed)
        texts += [text, changed(text, 1 + seed % 12), changed(text, 4, seed=3)]
    found = drop(texts)
    assert len(found.dropped) > 50 and (np.diff(found.dropped) > 0).all()
    for (one, other), listed in zip(pairs_of(found), found.similarity.tolist(), strict=True):
        assert other < one and similarity(texts[one], texts[other]) == pytest.approx(listed)
        assert listed >= 0.8
    stays = set(range(len(texts))) - set(found.dropped.tolist())
    assert set(found.like.tolist()) <= stays and not found.is_estimate.any()
    near = {  # by brute force
        one
        for one in found.dropped.tolist() + sorted(stays)
        if any(similarity(texts[one], texts[other]) >= 0.8 for other in stays if other < one)
    }
    missed = near - set(found.dropped.tolist())
    assert not set(found.dropped.tolist()) - near and len(missed) <= 0.05 * len(near)


def test_a_chain_is_compared_with_the_document_that_stays() -> None:
    first = random_text(1)
    second = changed(first, 5)
    third = changed(second, 5, seed=20)
    assert similarity(first, second) > 0.8 and similarity(second, third) > 0.8
    assert similarity(first, third) < 0.8
    found = drop([first, second, third], 0.8)
    assert pairs_of(found) == [(1, 0)]  # the third is near the second alone, which is gone


def test_of_several_near_documents_the_most_similar_is_named() -> None:
    first = random_text(2)
    far, close = changed(first, 11), changed(first, 1)
    assert similarity(first, far) < 0.8  # so both stay
    assert pairs_of(drop([far, first, close])) == [(2, 1)]
    assert pairs_of(drop([first, first, close])) == [(1, 0), (2, 0)]


def test_texts_that_are_not_known_are_compared_by_their_signatures() -> None:
    text = random_text(3)
    found = drop([text, changed(text, 2)], unknown=[0])
    assert pairs_of(found) == [(1, 0)] and found.is_estimate.tolist() == [True]
    assert abs(found.similarity[0] - similarity(text, changed(text, 2))) < 0.1
    assert not pairs_of(drop([text, random_text(4)], unknown=[0]))


def roles(count: int, held_out: Sequence[int]) -> Roles:
    is_held = np.isin(np.arange(count), held_out)
    return Roles(is_held, ~is_held, drops_listed=True)


def leaks(texts: Sequence[str], held_out: Sequence[int]) -> list[tuple[int, int]]:
    return pairs_of(find_near(make_corpus(texts, 0.8), 0.8, roles(len(texts), held_out)))


def test_held_out_documents_near_training_documents_leak_and_no_chain_does() -> None:
    text = random_text(5)
    close, far = changed(text, 2), changed(text, 12)
    assert leaks([text, close, far], held_out=[0]) == [(0, 1)]
    assert leaks([close, far, text], held_out=[2]) == [(2, 0)]
    assert leaks([text, close, far], held_out=[0, 1]) == []  # near to each other only
    assert leaks([text, close, far], held_out=[]) == []
    assert leaks([text, close, far], held_out=[0, 1, 2]) == []
    assert leaks([far, text], held_out=[1]) == []  # a candidate at most


def test_all_held_out_documents_near_one_training_document_leak() -> None:
    text = random_text(6)
    assert leaks([changed(text, 1), changed(text, 2), text], held_out=[0, 1]) == [(0, 2), (1, 2)]


def test_no_held_out_document_near_a_training_document_stays_however_many_there_are() -> None:
    """All pairs are near, as in a page that differs in a few characters."""
    text = random_text(7)
    texts = [changed(text, 2, seed=seed) for seed in range(30)]
    held_out = range(27)
    assert all(similarity(texts[0], other) > 0.8 for other in texts[1:])
    assert [one for one, _ in leaks(texts, held_out)] == [*held_out]


def test_more_documents_of_one_key_than_are_remembered_leak_all_the_same() -> None:
    count = 2 * MOST_LISTED + 100
    signed = np.zeros((count + 1, 128), np.uint8)
    unknown = np.full(count + 1, -1)
    corpus = Corpus(
        lambda band: np.zeros(len(signed), np.uint64),
        lambda rows: signed[rows],
        lambda rows: (np.empty(0, np.uint8), unknown[rows], unknown[rows]),
    )
    found = find_near(corpus, 0.8, roles(count + 1, range(count)))
    assert found.dropped.tolist() == [*range(count)] and set(found.like.tolist()) == {count}


def test_an_edited_article_is_near_and_an_edited_quatrain_is_not() -> None:
    article = "".join(chr(0x4E00 + 7 * number) for number in range(300))
    texts = [article, article.replace(article[150], "字"), POEM, POEM.replace("疑", "宜")]
    assert similarity(*texts[:2]) > 0.96 and similarity(*texts[2:]) == pytest.approx(0.6)
    assert pairs_of(drop(texts)) == [(1, 0)] == pairs_of(drop(texts, 0.95))
    assert not pairs_of(drop(texts, 1.0))
    assert pairs_of(drop(texts, 0.5)) == [(1, 0), (3, 2)]


def test_batches_and_limits_change_nothing_for_ordinary_clusters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [changed(random_text(seed), 1 + copy) for seed in range(30) for copy in range(4)]
    whole = pairs_of(drop(texts))
    assert len(whole) > 60
    monkeypatch.setattr(compare, "_BATCH", 3)
    assert pairs_of(drop(texts)) == whole


def test_empty_input_has_no_near_documents() -> None:
    nothing = np.empty((0, 128), np.uint8)
    empty: Callable[[np.ndarray], Texts] = lambda rows: (rows, rows, rows)  # noqa: E731
    corpus = Corpus(lambda band: np.empty(0, np.uint64), lambda rows: nothing, empty)
    assert not pairs_of(find_near(corpus, 0.8, Roles(np.zeros(0, bool), np.zeros(0, bool))))
