"""Texts continued by a tiny random model, in this process and by the command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpt2zh.__main__ import VERBS
from gpt2zh.config.cli import run_verbs
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import ModelConfig
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.writer import Writer, numbered
from gpt2zh.model.build import new_model
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

CONTEXT = 32
GREEDY = SamplingConfig(temperature=0, max_new_tokens=16)
SAMPLED = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=16, seed=7)


def save_model(folder: Path, tokenizer: TextTokenizer) -> Path:
    """A random model as a folder, as a checkpoint holds it; loud weights make it varied."""
    shape = ModelConfig(layers=1, heads=2, width=16, context=CONTEXT)
    model = new_model(shape, tokenizer, seed=3)
    with torch.no_grad():
        for weights in (model.transformer.wte, model.transformer.wpe):
            weights.weight *= 20
    model.config.document_start_token_id = tokenizer.eos_id
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_vocabulary: Path) -> Path:
    target = tmp_path_factory.mktemp("run") / "checkpoint-5"
    return save_model(target, load_tokenizer(tiny_vocabulary))


@pytest.fixture(scope="module")
def writer(folder: Path) -> Writer:
    return Writer.load(folder, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def byte_writer(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """With the builtin tokenizer, which spells rare characters in bytes."""
    return Writer.load(
        save_model(tmp_path_factory.mktemp("bytes"), load_tokenizer("builtin")),
        device=torch.device("cpu"),
    )


def steer(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, choose: Callable[[int], int | None]
) -> None:
    """Make one token certain at each number of written tokens; None leaves it to the model."""
    real = writer.model.forward
    written = [0]

    def forward(*args: object, **more: object) -> object:
        result = real(*args, **more)
        token = choose(written[0])
        written[0] += 1
        if token is not None:
            result.logits[:, -1] = -1e4
            result.logits[:, -1, token] = 0.0
        return result

    monkeypatch.setattr(writer.model, "forward", forward)


def test_greedy_is_the_same_each_time_and_equals_its_stream(writer: Writer) -> None:
    pieces: list[str] = []
    text = writer.write("山上", GREEDY)
    assert text and text == writer.write("山上", GREEDY, emit=pieces.append)
    assert "".join(pieces) == text and len([piece for piece in pieces if piece]) > 3


def test_greedy_takes_the_likeliest_token(writer: Writer) -> None:
    """Against the plain argmax of a forward pass over everything, without the KV cache."""
    model, tokenizer = writer.model, writer.tokenizer
    ids = [tokenizer.eos_id, *tokenizer.encode("山上")]
    banned = model.generation_config.suppress_tokens
    new: list[int] = []
    while len(new) < 16 and tokenizer.eos_id not in new:
        with torch.no_grad():
            logits = model(torch.tensor([ids + new])).logits[0, -1]
        logits[banned] = -torch.inf
        new.append(int(logits.argmax()))
    before = tokenizer.decode(ids)
    assert writer.write("山上", GREEDY) == tokenizer.decode(ids + new)[len(before) :]


def test_a_seed_reproduces_and_none_differs(writer: Writer) -> None:
    assert writer.write("山上", SAMPLED) == writer.write("山上", SAMPLED)
    free = dataclasses.replace(SAMPLED, seed=None)
    assert len({writer.write("山上", free) for _ in range(4)}) > 1
    assert len({writer.write("山上", numbered(SAMPLED, n)) for n in range(4)}) > 1
    assert numbered(SAMPLED, 0) == SAMPLED and numbered(SAMPLED, 2).seed == 9
    assert numbered(free, 2).seed is None


def test_a_seeded_stream_is_the_seeded_text(writer: Writer) -> None:
    pieces: list[str] = []
    assert writer.write("", SAMPLED) == writer.write("", SAMPLED, emit=pieces.append)
    assert "".join(pieces) == writer.write("", SAMPLED)


def test_it_stops_at_the_end_of_the_document(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    character = writer.tokenizer.encode("水")[0]
    steer(writer, monkeypatch, lambda n: character if n < 3 else writer.tokenizer.eos_id)
    pieces: list[str] = []
    assert writer.write("山", GREEDY, emit=pieces.append) == "水水水"
    assert "".join(pieces) == "水水水"


def test_beams_find_a_likelier_text(writer: Writer) -> None:
    def log_probability(new: str) -> float:
        prompt = [writer.tokenizer.eos_id, *writer.tokenizer.encode("山上")]
        ids = torch.tensor([prompt + writer.tokenizer.encode(new)])
        with torch.no_grad():
            logits = writer.model(ids).logits[0, len(prompt) - 1 : -1]
        logits[:, writer.model.generation_config.suppress_tokens] = -torch.inf
        chosen = ids[0, len(prompt) :, None]
        return float(logits.log_softmax(-1).gather(1, chosen).sum())

    short = dataclasses.replace(GREEDY, max_new_tokens=5)
    beams = dataclasses.replace(short, beams=8)
    greedy, found = writer.write("山上", short), writer.write("山上", beams)
    assert log_probability(found) >= log_probability(greedy) - 1e-4
    assert found == writer.write("山上", beams)
    with pytest.raises(UserError, match="stream false or beams 1"):
        writer.write("山上", beams, emit=print)


def test_no_ngram_is_written_twice(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    always = writer.tokenizer.encode("水")[0]
    real = writer.model.forward

    def forward(*args: object, **more: object) -> object:
        result = real(*args, **more)
        result.logits[:, -1, always] += 1e3
        return result

    monkeypatch.setattr(writer.model, "forward", forward)
    assert writer.write("山", GREEDY) == "水" * 16
    text = writer.write("山", dataclasses.replace(GREEDY, no_repeat_ngram=2))
    ids = writer.tokenizer.encode("山" + text)
    pairs = list(itertools.pairwise(ids))
    assert len(pairs) == len(set(pairs)) and text.count("水") >= 2


def test_a_repetition_penalty_changes_what_is_written(writer: Writer) -> None:
    plain = writer.write("山上山上", GREEDY)
    assert writer.write("山上山上", dataclasses.replace(GREEDY, repetition_penalty=1.0)) == plain
    punished = writer.write("山上山上", dataclasses.replace(GREEDY, repetition_penalty=5.0))
    assert punished != plain and len(set(punished)) >= len(set(plain))


def test_a_repetition_penalty_does_not_keep_a_text_from_ending(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prompt begins with eos; it must not count as written already."""
    assert writer.model.config.document_start_token_id == writer.tokenizer.eos_id
    real = writer.model.forward

    def forward(*args: object, **more: object) -> object:
        result = real(*args, **more)
        result.logits[:, -1] = 1.0
        result.logits[:, -1, writer.tokenizer.eos_id] = 2.0
        return result

    monkeypatch.setattr(writer.model, "forward", forward)
    strict = dataclasses.replace(GREEDY, repetition_penalty=1e9)
    assert writer.write("山", strict) == ""


def test_a_continuation_ends_where_the_context_ends(writer: Writer) -> None:
    endless = dataclasses.replace(GREEDY, max_new_tokens=500)
    assert writer.write("山" * 20, endless) == writer.write(
        "山" * 20, dataclasses.replace(GREEDY, max_new_tokens=CONTEXT - 21)
    )


def test_a_prompt_that_fills_the_context_is_refused(writer: Writer) -> None:
    with pytest.raises(UserError) as caught:
        writer.write("山" * CONTEXT, GREEDY)
    message = str(caught.value)
    assert f"{CONTEXT + 1} tokens" in message and f"context of {CONTEXT}" in message
    assert "shorten the prompt" in message


def test_an_empty_prompt_begins_a_document(writer: Writer) -> None:
    assert len(writer.write("", GREEDY)) > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"temperature": -1}, "temperature is -1; it is 0 (greedy) or more"),
        ({"top_p": 0}, "top_p is 0; it is above 0, at most 1"),
        ({"top_k": -1}, "top_k is -1; it is 0 (all) or more"),
        ({"beams": 0}, "beams is 0; it is 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it is 1 or more"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0; it is above 0"),
        ({"no_repeat_ngram": -2}, "no_repeat_ngram is -2; it is 0 or more"),
        ({"top_k": -1, "beams": 0}, "2 faults"),
    ],
)
def test_settings_without_a_meaning_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(UserError) as caught:
        SamplingConfig(**wrong)
    assert told in str(caught.value)


def test_samples_leave_the_random_numbers_of_training_untouched(writer: Writer) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = writer.samples(("山", "水"), tokens=8, synced=False)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert writer.samples(("山", "水"), tokens=8, synced=False) == first
    assert len(first) == 2 and all(first)


def test_samples_shorten_to_the_room_there_is(writer: Writer) -> None:
    (text,) = writer.samples(("山" * (CONTEXT - 3),), tokens=100, synced=False)
    assert len(writer.tokenizer.encode(text)) <= 2


def written_as(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, prompt: str, ids: list[int]
) -> tuple[str, list[str]]:
    """What is written and streamed when the model writes exactly these tokens."""
    steer(writer, monkeypatch, lambda n: ids[n] if n < len(ids) else writer.tokenizer.eos_id)
    pieces: list[str] = []
    return writer.write(prompt, GREEDY, emit=pieces.append), pieces


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
    writer: Writer, monkeypatch: pytest.MonkeyPatch, prompt: str, text: str
) -> None:
    whole = writer.tokenizer.encode(prompt + text)
    new = whole[len(writer.tokenizer.encode(prompt)) :]
    assert writer.tokenizer.decode(whole) == prompt + text  # else the case says nothing
    found, pieces = written_as(writer, monkeypatch, prompt, new)
    assert found == text
    assert "".join(pieces) == text


def test_a_stream_never_shows_half_a_character(
    byte_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "从𪚥前𪚥𪚥。"  # U+2A6A5 has four bytes and no token of its own
    ids = byte_writer.tokenizer.encode(text)
    assert len(ids) >= 14
    found, pieces = written_as(byte_writer, monkeypatch, "山", ids)
    assert found == text and "".join(pieces) == text
    assert not [piece for piece in pieces if "\ufffd" in piece]


@pytest.mark.parametrize("tail", [[], ["好"]], ids=["end", "more"])
def test_pieces_joined_are_the_text_even_when_bytes_make_no_character(
    byte_writer: Writer, monkeypatch: pytest.MonkeyPatch, tail: list[str]
) -> None:
    broken = byte_writer.tokenizer.encode("𪚥") + byte_writer.tokenizer.encode("𪚥")[:1]
    ids = broken + [i for text in tail for i in byte_writer.tokenizer.encode(text)]
    found, pieces = written_as(byte_writer, monkeypatch, "山", ids)
    assert "".join(pieces) == found


@pytest.mark.parametrize("case", ["nothing", "run", "no weights", "no tokenizer"])
def test_a_folder_that_holds_no_model_is_refused(folder: Path, tmp_path: Path, case: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    if case in ("no weights", "no tokenizer"):
        left_out = "model.safetensors" if case == "no weights" else "tokenizer.json"
        for path in folder.iterdir():
            if path.name != left_out:
                (broken / path.name).write_bytes(path.read_bytes())
    asked = {"nothing": tmp_path / "missing", "run": folder.parent}.get(case, broken)
    told = {
        "nothing": "no config.json; is the path right?",
        "run": "no config.json; it holds checkpoint-5: name one of them",
        "no weights": "model.safetensors",
        "no tokenizer": "no tokenizer.json",
    }[case]
    with pytest.raises(UserError) as caught:
        Writer.load(asked, device=torch.device("cpu"))
    assert str(asked) in str(caught.value) and told in str(caught.value)


def command(*argv: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gpt2zh", "generate", *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_prompts_and_continuations(
    folder: Path, writer: Writer, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("水上\n\n火\n", "utf-8")
    options = ("--max-new-tokens=8", "--seed=7", "--temperature=1", "--top-k=0", "--top-p=1")
    done = command(folder, "--prompt", "山", f"--prompt-file={tmp_path / 'prompts.txt'}",
                   "--samples=2", *options)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    expected = ""
    sampling = dataclasses.replace(SAMPLED, max_new_tokens=8)
    for prompt in ("山", "水上", "火"):
        for number in range(2):
            text = writer.write(prompt, numbered(sampling, number))
            expected += f"--- {prompt} [{number + 1}/2]\n{prompt}{text}\n"
    assert done.stdout == expected


def in_process(*argv: object) -> int:
    """The same command without a new process: starting one takes seconds."""
    return run_verbs(prog="gpt2zh", description="", verbs=VERBS, argv=["generate", *map(str, argv)])


@pytest.mark.parametrize("stream", ["true", "false"])
def test_the_command_prints_one_text_plainly(
    folder: Path, writer: Writer, capsys: pytest.CaptureFixture, stream: str
) -> None:
    greedy = ("--temperature=0", "--max-new-tokens=16", f"--stream={stream}")
    assert in_process("--model", folder, "--prompt=山上", *greedy) == 0
    assert capsys.readouterr() == (f"山上{writer.write('山上', GREEDY)}\n", "")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--prompt=山"], ["has no config.json", "checkpoint-5: name one of them"]),
        (["--prompt-file=missing.txt"], ["--prompt-file missing.txt", "No such file"]),
        (["--temperature=-1"], ["temperature is -1"]),
        (["--device=gpu"], ["device", "gpu", "'auto', 'cpu', 'cuda'"]),
    ],
)
def test_the_command_refuses_on_one_line(
    folder: Path, capsys: pytest.CaptureFixture, argv: list[str], told: list[str]
) -> None:
    assert in_process(folder.parent, *argv) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and "Traceback" not in error
    assert not [part for part in told if part not in error], error


def test_the_command_refuses_a_gpu_that_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert in_process(folder, "--device=cuda") == 2
    assert "--device cuda but no GPU is there; use --device cpu" in capsys.readouterr().err


def test_the_saved_folder_names_its_special_tokens(folder: Path, writer: Writer) -> None:
    saved = json.loads((folder / "generation_config.json").read_text("utf-8"))
    assert saved["eos_token_id"] == writer.tokenizer.eos_id
    assert saved["pad_token_id"] == writer.tokenizer.pad_id
