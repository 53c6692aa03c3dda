"""Token ids continued: a row of a batch is what its prompt alone would become."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from generating import CONTEXT, GREEDY, SAMPLED

from gpt2zh.config.errors import UserError
from gpt2zh.generation.generate import Continuation, generate
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.stepping import Stepping
from gpt2zh.generation.text import TextGenerator

LONG = SamplingConfig(temperature=0, max_new_tokens=100)
"""Only the context ends these, so that each row has its own room."""

SETTINGS = {
    "greedy": GREEDY,
    "to the end of the context": LONG,
    "sampled": SAMPLED,
    "top-k and top-p": replace(LONG, temperature=0.8, top_k=20, top_p=0.9, seed=3),
    "beams": replace(LONG, num_beams=3),
    "repetition penalty": replace(LONG, repetition_penalty=1.5),
    "no bigram twice": replace(LONG, no_repeat_ngram_size=2),
    "no token twice": replace(GREEDY, no_repeat_ngram_size=1),
    "all rules": replace(SAMPLED, repetition_penalty=1.3, no_repeat_ngram_size=2),
    "beams with rules": replace(LONG, num_beams=2, repetition_penalty=1.3, no_repeat_ngram_size=2),
}


@pytest.fixture
def prompts(generator: TextGenerator) -> list[list[int]]:
    """From one token to all but one of the context."""
    tokens = generator.tokenizer.encode("山上有水火风云前后左右人大小天地日月" * 3)
    eos = generator.tokenizer.eos_id
    return [
        [eos],
        [eos, *tokens[: CONTEXT - 2]],
        [eos, *tokens[3:5]],
        tokens[:17],
        [eos, tokens[7]],
    ]


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def sampling(request: pytest.FixtureRequest) -> SamplingConfig:
    return request.param


def test_a_row_of_a_batch_equals_the_prompt_alone(
    generator: TextGenerator, prompts: list[list[int]], sampling: SamplingConfig
) -> None:
    alone = [generate(generator.model, [prompt], sampling)[0] for prompt in prompts]
    assert generate(generator.model, prompts, sampling) == alone
    assert len({tuple(row.ids) for row in alone}) == len(prompts)
    rooms = [min(sampling.max_new_tokens, CONTEXT - len(prompt)) for prompt in prompts]
    for row, room in zip(alone, rooms, strict=True):
        assert len(row.ids) == room if row.stop_id is None else len(row.ids) < room


def test_one_prompt_has_the_tokens_of_transformers_with_the_same_seed(
    generator: TextGenerator, prompts: list[list[int]]
) -> None:
    model = generator.model
    for prompt, seed in itertools.product(prompts[2:], (0, 7)):
        sampling = SamplingConfig(max_new_tokens=12, seed=seed)
        torch.manual_seed(seed)
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=True,
            temperature=0.9,
            top_k=50,
            top_p=0.95,
        )[0, len(prompt) :].tolist()
        (found,) = generate(model, [prompt], sampling)
        assert found.ids + [found.stop_id] * (found.stop_id is not None) == expected


def test_every_row_may_have_its_own_seed(generator: TextGenerator) -> None:
    prompt = generator.encode_prompt("山")
    rows = generate(generator.model, [prompt] * 3, SAMPLED, seeds=(1, 2, 1))
    assert rows[0] == rows[2] != rows[1]
    assert rows[1] == generate(generator.model, [prompt], replace(SAMPLED, seed=2))[0]


def test_rows_without_a_seed_differ(generator: TextGenerator) -> None:
    prompt = generator.encode_prompt("山")
    rows = generate(generator.model, [prompt] * 4, replace(SAMPLED, seed=None))
    assert len({tuple(row.ids) for row in rows}) > 1


def test_a_batch_of_beams_that_sample_is_reproducible(
    generator: TextGenerator, prompts: list[list[int]]
) -> None:
    sampling = replace(SAMPLED, num_beams=2)
    rows = generate(generator.model, prompts, sampling)
    assert rows == generate(generator.model, prompts, sampling)
    assert rows != generate(generator.model, prompts, replace(sampling, seed=8))


def test_a_row_stops_at_an_extra_id_and_the_others_go_on(
    generator: TextGenerator, prompts: list[list[int]]
) -> None:
    whole = generate(generator.model, prompts, GREEDY)
    speaker = whole[2].ids[5]
    first = whole[2].ids.index(speaker)
    found = generate(generator.model, prompts, GREEDY, stop_ids=[speaker])
    assert found[2] == Continuation(whole[2].ids[:first], speaker)
    for row, before in zip(found, whole, strict=True):
        if speaker not in before.ids:
            assert row == before
    assert any(row == before for row, before in zip(found, whole, strict=True))


def test_the_eos_of_the_model_stops_a_row_with_extra_ids_too(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = generator.encode_prompt("山")
    eos = generate(generator.model, [prompt], GREEDY)[0].ids[4]
    monkeypatch.setattr(generator.model.generation_config, "eos_token_id", eos)
    (found,) = generate(generator.model, [prompt], GREEDY, stop_ids=[eos + 1])
    assert found.stop_id == eos


@pytest.mark.parametrize("eos", [None, [5, 6]], ids=["no eos", "two"])
def test_folders_without_an_eos_or_with_several_generate(
    generator: TextGenerator,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    eos: list[int] | None,
) -> None:
    """A foreign folder may also have no pad id; padding never shows."""
    monkeypatch.setattr(generator.model.generation_config, "eos_token_id", eos)
    monkeypatch.setattr(generator.model.generation_config, "pad_token_id", None)
    alone = [generate(generator.model, [prompt], LONG)[0] for prompt in prompts]
    assert generate(generator.model, prompts, LONG) == alone


def test_each_row_streams_its_tokens_one_by_one_until_its_end(
    generator: TextGenerator, prompts: list[list[int]]
) -> None:
    whole = generate(generator.model, prompts, LONG)[2].ids
    stop = next(token for token in whole if token != whole[0])
    calls: list[tuple[int, list[int]]] = []

    def note(row: int, ids: list[int]) -> None:
        calls.append((row, ids))

    found = generate(
        generator.model, prompts, LONG, stop_ids=[stop], stepping=Stepping(on_tokens=note)
    )
    streamed = [[i for row, ids in calls for i in ids if row == n] for n in range(len(prompts))]
    assert streamed == [row.ids for row in found]
    assert all(len(ids) == 1 for _, ids in calls)
    first_step = [row for row, new in enumerate(found) if new.ids]
    assert [row for row, _ in calls[: len(first_step)]] == first_step and 2 in first_step
    assert len({len(row.ids) for row in found}) > 2  # they end at different steps


def test_the_caller_can_stop_all_rows_after_any_token(
    generator: TextGenerator, prompts: list[list[int]]
) -> None:
    whole = generate(generator.model, prompts, GREEDY)
    asked = itertools.count(1)
    stepping = Stepping(should_stop=lambda: next(asked) == 3)
    found = generate(generator.model, prompts, GREEDY, stepping=stepping)
    assert [row.ids for row in found] == [row.ids[:3] for row in whole]
    assert {row.stop_id for row in found if len(row.ids) == 3} == {None}


def test_all_prompts_that_fill_the_context_are_named(generator: TextGenerator) -> None:
    with pytest.raises(UserError) as caught:
        generate(generator.model, [[1] * CONTEXT, [1], [1] * 40], GREEDY)
    message = str(caught.value)
    assert f"prompt 1 has {CONTEXT} tokens" in message and "prompt 3 has 40 tokens" in message
    assert "prompt 2" not in message and "shorten the prompt" in message


def test_beams_cannot_be_streamed(generator: TextGenerator) -> None:
    stepping = Stepping(on_tokens=lambda row, ids: None)
    with pytest.raises(UserError, match=r"num_beams is 2.*stream false or num_beams 1"):
        generate(generator.model, [[1]], replace(GREEDY, num_beams=2), stepping=stepping)


def test_no_prompts_give_nothing(generator: TextGenerator) -> None:
    assert generate(generator.model, [], GREEDY) == []


def test_the_model_is_left_as_it_was(generator: TextGenerator, prompts: list[list[int]]) -> None:
    """The positions of finished rows are clamped while the batch runs, and not after it."""
    generate(generator.model, prompts, LONG)
    with pytest.raises(IndexError):
        generator.model(torch.tensor([[1]]), position_ids=torch.tensor([[CONTEXT]]))
