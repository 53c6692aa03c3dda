"""A fresh model: its weights follow from the seed, its padding is never written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from gpt2zh.config.schema import ModelConfig
from gpt2zh.model.build import new_model
from gpt2zh.model.shape import padded_vocabulary
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

TINY = ModelConfig(layers=1, heads=2, width=16, context=32, dropout=0.1)


@pytest.fixture(scope="module")
def tokenizer(tiny_vocabulary: Path) -> TextTokenizer:
    return load_tokenizer(tiny_vocabulary)


def same_weights(one: GPT2LMHeadModel, other: GPT2LMHeadModel) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_weights_follow_from_the_seed_alone(tokenizer: TextTokenizer) -> None:
    first = new_model(TINY, tokenizer, seed=5)
    torch.rand(7)
    assert same_weights(first, new_model(TINY, tokenizer, seed=5))
    assert not same_weights(first, new_model(TINY, tokenizer, seed=6))


def test_the_shape_is_the_config(tokenizer: TextTokenizer) -> None:
    model = new_model(TINY, tokenizer, seed=1)
    config = model.config
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions) == (1, 2, 16, 32)
    assert config.vocab_size == padded_vocabulary(tokenizer.vocab_size) > tokenizer.vocab_size
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.1, 0.1, 0.1)
    assert config.n_ctx == 32  # for converters
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.transformer.wte.weight


def test_the_activations_are_the_same_function(tokenizer: TextTokenizer) -> None:
    """gelu_pytorch_tanh is GPT-2's gelu_new as one kernel: old checkpoints stay what they are."""
    kinds = ("gelu_new", "gelu_pytorch_tanh")
    shapes = [ModelConfig(layers=1, heads=2, width=16, context=32, activation=k) for k in kinds]
    one, other = (new_model(shape, tokenizer, seed=1).eval() for shape in shapes)
    ids = torch.arange(10)[None]
    torch.testing.assert_close(one(ids).logits, other(ids).logits, rtol=1e-5, atol=1e-6)


def test_generation_knows_where_to_stop_and_what_is_no_text(tokenizer: TextTokenizer) -> None:
    config = new_model(TINY, tokenizer, seed=1).generation_config
    assert config.eos_token_id == tokenizer.eos_id
    assert config.pad_token_id == tokenizer.pad_id
    padding = range(tokenizer.vocab_size, padded_vocabulary(tokenizer.vocab_size))
    assert len(padding) > 0
    assert set(config.suppress_tokens) == {tokenizer.pad_id, tokenizer.bos_id, *padding}


@pytest.mark.parametrize("role", ["eos_id", "cls_id"])
def test_a_text_begins_with_what_begins_a_document_in_the_rows(
    tokenizer: TextTokenizer, role: str
) -> None:
    """Other tools begin with bos; the tokenizer's own bos is in no row."""
    start = getattr(tokenizer, role)
    given = None if role == "eos_id" else start  # eos is the default
    model = new_model(TINY, tokenizer, seed=1, document_start=given)
    assert model.config.bos_token_id == model.generation_config.bos_token_id == start
    assert model.config.document_start_token_id == start != tokenizer.bos_id
    assert model.config.eos_token_id == tokenizer.eos_id


@pytest.mark.parametrize("kind", ["padding", "pad", "bos"])
@pytest.mark.parametrize("settings", [{}, {"do_sample": True}, {"num_beams": 2}], ids=str)
def test_what_is_no_text_is_never_written_even_if_it_is_likeliest(
    tokenizer: TextTokenizer, tmp_path: Path, kind: str, settings: dict
) -> None:
    model = new_model(TINY, tokenizer, seed=1).eval()
    rows = {
        "padding": slice(tokenizer.vocab_size, None),
        "pad": slice(tokenizer.pad_id, tokenizer.pad_id + 1),
        "bos": slice(tokenizer.bos_id, tokenizer.bos_id + 1),
    }[kind]
    with torch.no_grad():  # the last norm gives a constant direction, which these rows answer to
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight[rows] = 10.0
    ids = torch.tensor([[7, 8]])
    forbidden = set(range(model.config.vocab_size)[rows])
    assert int(model(ids).logits[0, -1].argmax()) in forbidden
    model.save_pretrained(tmp_path)  # as anybody who loads a checkpoint gets it
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path)
    written = loaded.generate(ids, max_new_tokens=12, **settings)[0, 2:].tolist()
    if tokenizer.eos_id in written:  # behind it beams are filled up with pad
        written = written[: written.index(tokenizer.eos_id)]
    assert written and not forbidden & set(written)
