"""Tiny random models as folders, and prompts of token ids, for tests of generation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt2zh.config.schema import ModelConfig
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.generation.text import TextGenerator
from gpt2zh.model.build import new_model
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

CONTEXT = 32
GREEDY = SamplingConfig(temperature=0, max_new_tokens=16)
SAMPLED = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=16, seed=7)


def save_model(folder: Path, tokenizer: TextTokenizer) -> Path:
    """Save a random model as a checkpoint holds it; large embeddings make its texts varied."""
    shape = ModelConfig(layers=1, heads=2, width=16, context=CONTEXT)
    model = new_model(shape, tokenizer, seed=3)
    with torch.no_grad():
        for weights in (model.transformer.wte, model.transformer.wpe):
            weights.weight *= 20
    model.save_pretrained(folder)
    tokenizer.save(folder, context=CONTEXT, document_start=tokenizer.eos_id)
    return folder


def load_generator(folder: Path) -> TextGenerator:
    """Load a saved model on the CPU in fp32."""
    return TextGenerator.load(folder, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_vocabulary: Path) -> Path:
    target = tmp_path_factory.mktemp("run") / "checkpoint-5"
    return save_model(target, load_tokenizer(tiny_vocabulary))


@pytest.fixture(scope="package")
def generator(folder: Path) -> TextGenerator:
    return load_generator(folder)
