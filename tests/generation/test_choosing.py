"""Rules and draws of a batch treat each row as if it were alone."""

from __future__ import annotations

import dataclasses

import torch

from gpt2zh.generation.choosing import make_processors
from gpt2zh.generation.sampling import SamplingConfig

PLAIN = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0)
IDS = torch.tensor([[9, 9, 1, 2, 1], [3, 4, 3, 4, 3]])  # the first row has two of padding
SCORES = torch.linspace(-1, 2, 2 * 12).reshape(2, 12)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_rules_do_not_see_the_padding() -> None:
    sampling = dataclasses.replace(PLAIN, no_repeat_ngram_size=2, repetition_penalty=1.5)
    both = make_processors(sampling, padding=[2, 0], generators=[], spared=0)
    alone = make_processors(sampling, padding=[0], generators=[], spared=0)
    assert len(both) == len(alone) == 2
    for of_batch, of_row in zip(both, alone, strict=True):
        scores = of_batch(IDS, SCORES)
        assert scores[:1].equal(of_row(IDS[:1, 2:], SCORES[:1]))
        assert scores[1:].equal(of_row(IDS[1:], SCORES[1:]))
        assert scores[0, 9] == SCORES[0, 9]  # the padding is not a word that is repeated


def test_beams_of_a_row_share_its_padding() -> None:
    sampling = dataclasses.replace(PLAIN, no_repeat_ngram_size=2)
    (rule,) = make_processors(sampling, padding=[2, 0], generators=[], spared=0)
    ids, scores = IDS.repeat_interleave(2, dim=0), SCORES.repeat_interleave(2, dim=0)
    assert rule(ids, scores).equal(rule(IDS, SCORES).repeat_interleave(2, dim=0))


def test_a_draw_is_that_of_multinomial_with_the_generator_of_its_row() -> None:
    drawn = []
    for seed in range(50):
        (draw,) = make_processors(
            PLAIN, padding=[0, 0], generators=generators(seed, seed + 100), spared=0
        )
        tokens = draw(IDS, SCORES).argmax(-1).tolist()
        for row, generator in enumerate(generators(seed, seed + 100)):
            expected = torch.multinomial(SCORES[row].softmax(-1), 1, generator=generator)
            assert tokens[row] == expected.item()
        drawn += tokens
    assert len(set(drawn)) > 5


def test_without_generators_nothing_is_drawn_or_warped() -> None:
    sampling = dataclasses.replace(PLAIN, temperature=0.5, top_k=3, top_p=0.5)
    assert make_processors(sampling, padding=[0], generators=[], spared=0) == []
    assert len(make_processors(sampling, padding=[0], generators=generators(1), spared=0)) == 4
