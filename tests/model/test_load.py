"""Any GPT-2 folder is loaded safely and whole, or refused with the reason and the cure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_facts, write_checkpoint
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.checkpoint.checkpoint import load_weights
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import ModelConfig
from gpt2zh.model.build import new_model
from gpt2zh.model.load import load_pretrained
from gpt2zh.model.shape import padded_vocabulary
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

CPU = torch.device("cpu")


def load(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[GPT2LMHeadModel, TextTokenizer]:
    return load_pretrained(folder, dtype=dtype, device=CPU)


@pytest.fixture
def folder(tmp_path: Path, tiny_vocabulary: Path) -> Path:
    """A checkpoint as a run writes it."""
    return write_checkpoint(tmp_path / "run", 5, tiny_facts(tiny_vocabulary))


@pytest.fixture
def foreign(tmp_path: Path, tiny_vocabulary: Path) -> Path:
    """A GPT-2 of somebody else: a BERT vocabulary, as many rows, no control tokens of ours."""
    words = tiny_vocabulary.read_text("utf-8").split("\n")[:-1]
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=len(words), n_positions=16, n_embd=8, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "foreign")
    shutil.copy(tiny_vocabulary, tmp_path / "foreign" / "vocab.txt")
    return tmp_path / "foreign"


def edit(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


def test_a_checkpoint_of_ours_has_its_own_weights_and_tokenizer(
    folder: Path, tiny_vocabulary: Path
) -> None:
    facts = tiny_facts(tiny_vocabulary)
    model, tokenizer = load(folder)
    load_weights(facts.model, folder)
    pairs = zip(model.named_parameters(), facts.model.named_parameters(), strict=True)
    assert all(one[0] == other[0] and torch.equal(one[1], other[1]) for one, other in pairs)
    assert tokenizer.hash == facts.tokenizer.hash
    assert not model.training and model.lm_head.weight is model.transformer.wte.weight
    assert model.generation_config.suppress_tokens


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_the_weights_have_the_type_that_is_asked_for(folder: Path, dtype: torch.dtype) -> None:
    model, _ = load(folder, dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_weights_in_several_files_are_loaded(folder: Path) -> None:
    model, _ = load(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size=20_000)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    again, _ = load(folder)
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_control_tokens_that_a_foreign_model_lacks_get_rows_and_are_never_written(
    foreign: Path,
) -> None:
    before = load_file(foreign / "model.safetensors")["transformer.wte.weight"]
    model, tokenizer = load(foreign)
    table = model.transformer.wte.weight
    assert len(before) < tokenizer.vocab_size <= len(table) == model.config.vocab_size
    assert len(table) == padded_vocabulary(tokenizer.vocab_size)
    assert torch.equal(table[: len(before)], before)
    assert torch.equal(table[tokenizer.eos_id], before.mean(dim=0))
    assert model.lm_head.weight is table
    new = set(range(len(before), len(table)))
    assert new <= set(model.generation_config.suppress_tokens)
    again, _ = load(foreign)
    assert torch.equal(again.transformer.wte.weight, table)


def test_no_code_of_a_folder_runs(folder: Path, tmp_path: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", "utf-8")
    edit(folder, auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"})
    load(folder)
    assert not (tmp_path / "ran").exists()


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 300)


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.0.mlp.c_fc.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def other_tokenizer(folder: Path) -> None:
    load_tokenizer("builtin").save(folder)


BROKEN = {
    "no tokenizer": (without("tokenizer.json"), ["no tokenizer.json", "AutoTokenizer"]),
    "no weights": (without("model.safetensors"), ["no model.safetensors", "again"]),
    "broken config": (lambda f: (f / "config.json").write_text("{"), ["config.json", "JSON"]),
    "a key twice": (
        lambda f: (f / "config.json").write_text('{"n_head": 2,\n"n_head": 4}'),
        ["config.json: the key 'n_head' is written twice, in lines 1 and 2"],
    ),
    "a list": (lambda f: (f / "config.json").write_text("[]"), ["a list", "JSON object"]),
    "no size": (lambda f: edit(f, vocab_size=None), ["vocab_size None", "not an integer"]),
    "another model": (lambda f: edit(f, model_type="bert"), ["'bert'", "must be 'gpt2'"]),
    "no model type": (lambda f: edit(f, model_type=None), ["None", "must be 'gpt2'"]),
    "a classifier": (
        lambda f: edit(f, architectures=["GPT2ForSequenceClassification"]),
        ["GPT2ForSequenceClassification", "not a causal language model", "GPT2LMHeadModel"],
    ),
    "other shape": (lambda f: edit(f, n_embd=8), ["cannot be loaded", "belong together"]),
    "cut weights": (cut_weights, ["cannot be loaded", "copy them again"]),
    "a tensor less": (drop_tensor, ["lack 1 tensors", "h.0.mlp.c_fc.weight", "random"]),
    "other tokenizer": (other_tokenizer, ["ids, but the model's embedding has", "trained with"]),
}


@pytest.mark.parametrize(("spoil", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_refused_with_reason_and_cure(
    folder: Path, spoil: Callable[[Path], None], expected: list[str]
) -> None:
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message and not [part for part in expected if part not in message]


def test_all_faults_are_named_at_once(folder: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"2 faults") as caught:
        load(folder)
    assert "no tokenizer.json" in str(caught.value) and "no model.safetensors" in str(caught.value)


def test_checkpoints_that_are_near_are_named_in_the_order_of_their_steps(
    tmp_path: Path,
) -> None:
    for step in (9, 10, 100):
        path = tmp_path / "run" / f"checkpoint-{step}"
        path.mkdir(parents=True)
        (path / "config.json").write_text("{}")
    (tmp_path / "run" / "checkpoint-11").mkdir()  # without a config: not complete
    near = "has checkpoint-9, checkpoint-10, checkpoint-100: use one of them"
    for asked in (tmp_path / "run", tmp_path / "run" / "checkpoint-50"):
        with pytest.raises(UserError, match=r"has no config\.json") as caught:
            load(asked)
        assert f"{tmp_path / 'run'} {near}" in str(caught.value)
    with pytest.raises(UserError, match=r"has no config\.json; check the path"):
        load(tmp_path / "other" / "place")


def cure_in(error: UserError) -> str:
    """The Python code of the command that a message recommends."""
    return str(error).split('python -c "')[1].rsplit('"', 1)[0]


def test_a_pickle_is_refused_and_the_cure_converts_it(folder: Path) -> None:
    model, _ = load(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="a pickle, which can run code") as caught:
        load(folder)
    exec(cure_in(caught.value))  # noqa: S102, our own message
    again, _ = load(folder)
    assert torch.equal(again.transformer.wte.weight, model.transformer.wte.weight)


class _Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple:
        return os.system, (self._command,)


def test_the_cure_runs_no_code_of_a_pickle(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": _Trap(f"touch {tmp_path / 'ran'}")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="a pickle") as caught:
        load(folder)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        exec(cure_in(caught.value))  # noqa: S102, our own message
    assert not (tmp_path / "ran").exists()


def test_a_fresh_model_that_was_saved_loads_as_it_was(
    tmp_path: Path, tiny_vocabulary: Path
) -> None:
    tokenizer = load_tokenizer(tiny_vocabulary)
    model = new_model(ModelConfig(layers=1, heads=2, width=8, context=16), tokenizer, seed=2)
    model.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    loaded, _ = load(tmp_path)
    assert loaded.generation_config.suppress_tokens == model.generation_config.suppress_tokens
    ids = torch.arange(10)[None]
    assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)
