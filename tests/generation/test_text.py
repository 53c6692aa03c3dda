"""Texts continued by a tiny random model: one or many, streamed or not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
import torch
from generating import CONTEXT, GREEDY, SAMPLED

from gpt2zh.config.errors import UserError
from gpt2zh.generation.generate import generate
from gpt2zh.generation.stepping import Stepping
from gpt2zh.generation.text import TextGenerator, TextStream, decode_after


def steer(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, choose: Callable[[int], int | None]
) -> None:
    """Make one token certain at each number of written tokens; None leaves it to the model."""
    real = generator.model.forward
    written = [0]

    def forward(*args: object, **more: object) -> object:
        result = real(*args, **more)
        token = choose(written[0])
        written[0] += 1
        if token is not None:
            result.logits[:, -1] = -1e4
            result.logits[:, -1, token] = 0.0
        return result

    monkeypatch.setattr(generator.model, "forward", forward)


def test_greedy_is_the_same_each_time_and_equals_its_stream(generator: TextGenerator) -> None:
    pieces: list[str] = []
    text = generator.write("山上", GREEDY)
    assert text and text == generator.write("山上", GREEDY, emit=pieces.append)
    assert "".join(pieces) == text and len([piece for piece in pieces if piece]) > 3


def test_greedy_takes_the_likeliest_token(generator: TextGenerator) -> None:
    """Against the plain argmax of a forward pass over everything, without the KV cache."""
    model, tokenizer = generator.model, generator.tokenizer
    ids = [tokenizer.eos_id, *tokenizer.encode("山上")]
    banned = model.generation_config.suppress_tokens
    new: list[int] = []
    while len(new) < 16 and tokenizer.eos_id not in new:
        with torch.no_grad():
            logits = model(torch.tensor([ids + new])).logits[0, -1]
        logits[banned] = -torch.inf
        new.append(int(logits.argmax()))
    before = tokenizer.decode(ids)
    assert generator.write("山上", GREEDY) == tokenizer.decode(ids + new)[len(before) :]


def test_a_seed_reproduces_and_none_differs(generator: TextGenerator) -> None:
    assert generator.write("山上", SAMPLED) == generator.write("山上", SAMPLED)
    free = dataclasses.replace(SAMPLED, seed=None)
    assert len({generator.write("山上", free) for _ in range(4)}) > 1
    assert len({generator.write("山上", SAMPLED.for_sample(n)) for n in range(4)}) > 1


def test_a_seeded_stream_is_the_seeded_text(generator: TextGenerator) -> None:
    pieces: list[str] = []
    assert generator.write("", SAMPLED) == generator.write("", SAMPLED, emit=pieces.append)
    assert "".join(pieces) == generator.write("", SAMPLED)


def test_it_stops_at_the_end_of_the_document(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    character = generator.tokenizer.encode("水")[0]
    steer(generator, monkeypatch, lambda n: character if n < 3 else generator.tokenizer.eos_id)
    pieces: list[str] = []
    assert generator.write("山", GREEDY, emit=pieces.append) == "水水水"
    assert "".join(pieces) == "水水水"


def test_beams_find_a_likelier_text(generator: TextGenerator) -> None:
    def log_probability(new: str) -> float:
        prompt = [generator.tokenizer.eos_id, *generator.tokenizer.encode("山上")]
        ids = torch.tensor([prompt + generator.tokenizer.encode(new)])
        with torch.no_grad():
            logits = generator.model(ids).logits[0, len(prompt) - 1 : -1]
        logits[:, generator.model.generation_config.suppress_tokens] = -torch.inf
        chosen = ids[0, len(prompt) :, None]
        return float(logits.log_softmax(-1).gather(1, chosen).sum())

    short = dataclasses.replace(GREEDY, max_new_tokens=5)
    beams = dataclasses.replace(short, num_beams=8)
    greedy, found = generator.write("山上", short), generator.write("山上", beams)
    assert log_probability(found) >= log_probability(greedy) - 1e-4
    assert found == generator.write("山上", beams)
    with pytest.raises(UserError, match="stream false or num_beams 1"):
        generator.write("山上", beams, emit=print)


def test_no_ngram_is_written_twice(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = generator.tokenizer.encode("水")[0]
    real = generator.model.forward

    def forward(*args: object, **more: object) -> object:
        result = real(*args, **more)
        result.logits[:, -1, always] += 1e3
        return result

    monkeypatch.setattr(generator.model, "forward", forward)
    assert generator.write("山", GREEDY) == "水" * 16
    text = generator.write("山", dataclasses.replace(GREEDY, no_repeat_ngram_size=2))
    ids = generator.tokenizer.encode("山" + text)
    pairs = list(itertools.pairwise(ids))
    assert len(pairs) == len(set(pairs)) and text.count("水") >= 2


def test_a_repetition_penalty_changes_what_is_written(generator: TextGenerator) -> None:
    plain = generator.write("山上山上", GREEDY)
    assert generator.write("山上山上", dataclasses.replace(GREEDY, repetition_penalty=1.0)) == plain
    punished = generator.write("山上山上", dataclasses.replace(GREEDY, repetition_penalty=5.0))
    assert punished != plain and len(set(punished)) >= len(set(plain))


def test_a_repetition_penalty_does_not_keep_a_text_from_ending(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prompt begins with eos; it must not count as written already."""
    assert generator.model.config.document_start_token_id == generator.tokenizer.eos_id
    real = generator.model.forward

    def forward(*args: object, **more: object) -> object:
        result = real(*args, **more)
        result.logits[:, -1] = 1.0
        result.logits[:, -1, generator.tokenizer.eos_id] = 2.0
        return result

    monkeypatch.setattr(generator.model, "forward", forward)
    strict = dataclasses.replace(GREEDY, repetition_penalty=1e9)
    assert generator.write("山", strict) == ""


def test_a_continuation_ends_where_the_context_ends(generator: TextGenerator) -> None:
    endless = dataclasses.replace(GREEDY, max_new_tokens=500)
    assert generator.write("山" * 20, endless) == generator.write(
        "山" * 20, dataclasses.replace(GREEDY, max_new_tokens=CONTEXT - 21)
    )


def test_a_prompt_that_fills_the_context_is_refused(generator: TextGenerator) -> None:
    with pytest.raises(UserError) as caught:
        generator.write("山" * CONTEXT, GREEDY)
    message = str(caught.value)
    assert f"{CONTEXT + 1} tokens" in message and f"context of {CONTEXT}" in message
    assert "shorten the prompt" in message


def test_an_empty_prompt_begins_a_document(generator: TextGenerator) -> None:
    assert len(generator.write("", GREEDY)) > 0


@pytest.mark.parametrize(("bos", "own"), [(7, False), (50256, True), (None, True)])
def test_without_a_prompt_a_foreign_model_begins_with_its_bos(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, bos: int | None, own: bool
) -> None:
    """GPT-2's bos is its eos, so the tokenizer's is a new one, which the model never saw."""
    monkeypatch.setattr(generator.model.config, "document_start_token_id", None)
    monkeypatch.setattr(generator.model.config, "bos_token_id", bos)
    assert generator.encode_prompt("") == [generator.tokenizer.bos_id if own else bos]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}, {"temperature": 0}], ids=str)
def test_writing_leaves_the_random_numbers_of_the_caller_untouched(
    generator: TextGenerator, settings: dict
) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    generator.write("山", dataclasses.replace(SAMPLED, **settings))
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_do_not_depend_on_the_random_numbers_of_training(generator: TextGenerator) -> None:
    first = generator.write_samples(("山", "水"), tokens=8)
    torch.rand(3)
    assert generator.write_samples(("山", "水"), tokens=8) == first
    assert len(first) == 2 and all(first)


def test_samples_shorten_to_the_room_there_is(generator: TextGenerator) -> None:
    (text,) = generator.write_samples(("山" * (CONTEXT - 3),), tokens=100)
    assert len(generator.tokenizer.encode(text)) <= 2


def written_as(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, prompt: str, ids: list[int]
) -> tuple[str, list[str]]:
    """What is written and streamed when the model writes exactly these tokens."""
    steer(generator, monkeypatch, lambda n: ids[n] if n < len(ids) else generator.tokenizer.eos_id)
    pieces: list[str] = []
    return generator.write(prompt, GREEDY, emit=pieces.append), pieces


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("ab", " cd ef"),
        ("山", "水火"),
        ("山ab", " cd水"),
        ("山", "ab cd水"),
        ("", "ab cd"),
    ],
)
def test_latin_words_keep_their_spaces_and_chinese_has_none(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, prompt: str, text: str
) -> None:
    whole = generator.tokenizer.encode(prompt + text)
    new = whole[len(generator.tokenizer.encode(prompt)) :]
    assert generator.tokenizer.decode(whole) == prompt + text  # else the case says nothing
    found, pieces = written_as(generator, monkeypatch, prompt, new)
    assert found == text
    assert "".join(pieces) == text


def test_a_stream_never_shows_half_a_character(
    byte_generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "从𪚥前𪚥𪚥。"  # U+2A6A5 has four bytes and no token of its own
    ids = byte_generator.tokenizer.encode(text)
    assert len(ids) >= 14
    found, pieces = written_as(byte_generator, monkeypatch, "山", ids)
    assert found == text and "".join(pieces) == text
    assert not [piece for piece in pieces if "\ufffd" in piece]


@pytest.mark.parametrize("tail", [[], ["好"]], ids=["end", "more"])
def test_pieces_joined_are_the_text_even_when_bytes_make_no_character(
    byte_generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, tail: list[str]
) -> None:
    broken = byte_generator.tokenizer.encode("𪚥") + byte_generator.tokenizer.encode("𪚥")[:1]
    ids = broken + [i for text in tail for i in byte_generator.tokenizer.encode(text)]
    found, pieces = written_as(byte_generator, monkeypatch, "山", ids)
    assert "".join(pieces) == found


def test_many_prompts_have_the_texts_of_each_alone_and_stream_them(
    generator: TextGenerator,
) -> None:
    prompts = ("", "山上", "水" * 25, "ab cd")
    texts = [generator.write(prompt, SAMPLED) for prompt in prompts]
    pieces: list[list[str]] = [[] for _ in prompts]
    found = generator.write_batch(
        prompts, SAMPLED, emit=lambda row, piece: pieces[row].append(piece)
    )
    assert found == texts and len(set(found)) == len(found)
    assert ["".join(row) for row in pieces] == texts
    assert generator.write_batch(prompts, SAMPLED, seeds=(7, 8, 9, 10)) == [
        generator.write(prompt, SAMPLED.for_sample(n)) for n, prompt in enumerate(prompts)
    ]
    assert generator.write_batch((), SAMPLED) == []


def test_a_batched_stream_never_shows_half_a_character(byte_generator: TextGenerator) -> None:
    """Random bytes and characters in every row; what is shown early is never taken back."""
    prompts = ("山", "𪚥", "前后左右")
    pieces: list[list[str]] = [[] for _ in prompts]
    found = byte_generator.write_batch(
        prompts, SAMPLED, emit=lambda row, piece: pieces[row].append(piece)
    )
    assert ["".join(row) for row in pieces] == found
    assert not [piece for row in pieces for piece in row[:-1] if piece.endswith("\ufffd")]


def test_ids_with_a_stop_token_of_the_caller_stream_as_text(generator: TextGenerator) -> None:
    """As a dialogue does: ids of its own as the prompt, which a speaker's token ends."""
    model, tokenizer = generator.model, generator.tokenizer
    prompt = generator.encode_prompt("山上")
    whole = generate(model, [prompt], SAMPLED)[0].ids
    speaker = next(token for token in whole[4:] if token not in whole[:4])
    pieces: list[str] = []
    stream = TextStream(tokenizer, prompt, pieces.append)
    stepping = Stepping(on_tokens=lambda _, new: stream.put(new))
    (reply,) = generate(model, [prompt], SAMPLED, stop_ids=[speaker], stepping=stepping)
    stream.end()
    assert reply.stop_id == speaker and reply.ids == whole[: whole.index(speaker)]
    assert "".join(pieces) == decode_after(tokenizer, prompt, reply.ids) != ""
