"""Training of the builtin kind of tokenizer."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.text.training import build_alphabet, train_tokenizer

TEXTS = ["从前有座山，山里有座庙。" * 50, "<0x41><eos> <0x41><eos>" * 50, "鿫" * 50 + "龘" * 3]


def test_trained_vocabulary_has_the_size_asked_for() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=8200)
    assert 7_500 < tokenizer.vocab_size <= 8200
    assert len(tokenizer.encode("从前有座山")) < 5


def test_no_merge_builds_a_byte_or_control_token() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=8200)
    names = map(tokenizer._backend.id_to_token, tokenizer.encode("<0x41><eos>"))
    assert not any(re.fullmatch("<(0x..|eos)>", name) for name in names)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS] == TEXTS


def test_frequent_character_gets_a_token_and_rare_one_bytes() -> None:
    alphabet = build_alphabet(TEXTS)
    assert "鿫" in alphabet and "龘" not in alphabet
    assert set("啊阿“”…—·。，\n\t Ａ！") <= set(alphabet) and "\x00" not in alphabet


@pytest.mark.slow
def test_two_processes_train_the_same_tokenizer() -> None:
    code = (
        "from gpt2zh.text.training import train_tokenizer;"
        f"print(train_tokenizer({TEXTS!r}, vocab_size=8200).hash)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout and len(runs[0].stdout) == 65


def test_too_small_vocabulary_is_refused_with_the_number_needed() -> None:
    with pytest.raises(UserError, match=r"vocab-size 1000 is too small: \d+ characters, 256 bytes"):
        train_tokenizer(TEXTS, vocab_size=1000)


def test_the_corpus_alphabet_is_small_and_still_lossless() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=700, alphabet="corpus")
    assert tokenizer.vocab_size <= 700
    strange = "龘\t\u3000“Q”…——\n𠮷"
    assert tokenizer.decode(tokenizer.encode(strange)) == strange
