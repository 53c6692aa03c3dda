"""An unknown name is answered with the one that was meant, or with all that are known."""

from __future__ import annotations

import pytest

from gpt2zh.config.suggestions import suggest

KNOWN = ["train.steps", "train.micro_batch", "optimizer.lr", "output"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("train.stesp", "; did you mean --train.steps?"),
        ("steps", "; did you mean --train.steps?"),
        ("train.lr", "; did you mean --optimizer.lr?"),
        ("xyzzy", "; known: train.steps, train.micro_batch, optimizer.lr, output"),
    ],
)
def test_the_nearest_known_name_is_suggested(name: str, answer: str) -> None:
    assert suggest(name, KNOWN, "--") == answer
