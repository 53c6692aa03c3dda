"""Build transformers' GPT-2 with fresh weights, in the shape of the config."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from gpt2zh.config.schema import ModelConfig
from gpt2zh.model.shape import padded_vocabulary
from gpt2zh.text.tokenizer import TextTokenizer


def new_model(
    model: ModelConfig, tokenizer: TextTokenizer, *, seed: int, document_start: int | None = None
) -> GPT2LMHeadModel:
    """Build a model with fresh fp32 weights on the CPU, the same on every rank.

    Args:
        model: Shape of the model.
        tokenizer: Gives the vocabulary size and the special ids.
        seed: Seed of the weights; it also seeds torch's global generator.
        document_start: Id before every document of the training rows; None is eos. transformers
            and others begin a text with bos, so this id is the model's bos. The tokenizer's own bos
            is in no row.
    """
    start = tokenizer.eos_id if document_start is None else document_start
    config = GPT2Config(
        vocab_size=padded_vocabulary(tokenizer.vocab_size),
        n_positions=model.context,
        n_ctx=model.context,  # the older name, which llama.cpp's converter reads
        n_embd=model.width,
        n_layer=model.layers,
        n_head=model.heads,
        resid_pdrop=model.dropout,
        embd_pdrop=model.dropout,
        attn_pdrop=model.dropout,
        activation_function=model.activation,
        bos_token_id=start,
        document_start_token_id=start,
        eos_token_id=tokenizer.eos_id,
        # No pad id: with one, transformers searches for padding in every forward pass, which waits
        # for the GPU. The generation config has the pad id.
        pad_token_id=None,
        use_cache=True,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    built = GPT2LMHeadModel(config)
    built.generation_config = generation_config(tokenizer, start)
    return built


def generation_config(tokenizer: TextTokenizer, document_start: int) -> GenerationConfig:
    """Return the ids that begin and end a text and pad a batch, and those never generated."""
    padding = range(tokenizer.vocab_size, padded_vocabulary(tokenizer.vocab_size))
    return GenerationConfig(
        bos_token_id=document_start,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
        suppress_tokens=[tokenizer.pad_id, tokenizer.bos_id, *padding],
    )


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, by name, of the model that a folder's config describes.

    Raises:
        OSError: The config is missing or is not valid JSON.
    """
    with torch.device("meta"):  # nothing is allocated
        built = GPT2LMHeadModel(GPT2Config.from_pretrained(folder, local_files_only=True))
    return {name: tuple(parameter.shape) for name, parameter in built.named_parameters()}
