"""Two tiny random models, saved as folders and loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
from generating import load_generator, save_model

from gpt2zh.generation.text import TextGenerator
from gpt2zh.text.tokenizer import load_tokenizer


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_vocabulary: Path) -> Path:
    target = tmp_path_factory.mktemp("run") / "checkpoint-5"
    return save_model(target, load_tokenizer(tiny_vocabulary))


@pytest.fixture(scope="package")
def generator(folder: Path) -> TextGenerator:
    return load_generator(folder)


@pytest.fixture(scope="package")
def byte_generator(tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    """With the builtin tokenizer, which spells rare characters in bytes."""
    return load_generator(save_model(tmp_path_factory.mktemp("bytes"), load_tokenizer("builtin")))
