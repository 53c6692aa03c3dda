"""Two tiny random models, saved as folders and loaded again."""

from __future__ import annotations

import pytest
from generating import folder, generator, load_generator, save_model  # noqa: F401  two fixtures

from gpt2zh.generation.text import TextGenerator
from gpt2zh.text.tokenizer import load_tokenizer


@pytest.fixture(scope="package")
def byte_generator(tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    """With the builtin tokenizer, which spells rare characters in bytes."""
    return load_generator(save_model(tmp_path_factory.mktemp("bytes"), load_tokenizer("builtin")))
