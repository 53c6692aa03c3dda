"""Train the character-level BPE with byte fallback that the builtin tokenizer is.

Characters, not bytes, are the alphabet: a hanzi is one token before any merge. What the alphabet
lacks is spelled in UTF-8 bytes (`<0xE4>` ...), so every text comes back exactly. Merges stay
inside a run of hanzi, a word, a number or a run of punctuation.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from gpt2zh.config.errors import UserError
from gpt2zh.text.tokenizer import ControlTokens, TextTokenizer

_CONTROL = ControlTokens(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
_SPECIAL = (_CONTROL.pad_token, _CONTROL.bos_token, _CONTROL.eos_token)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

Alphabet = Literal["gb2312", "corpus"]

# Letters, digits and punctuation never share a piece, so no merge can build the text "<0x41>",
# which would read as a byte, or "<eos>".
_PIECES = "|".join(
    (
        r"\p{Han}+",
        r" ?[[\p{L}\p{M}]&&[^\p{Han}]]+",
        r"\p{N}{1,4}",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# Stands in training texts for a character outside the alphabet: the trainer would leave a gap out
# and merge what only the gap separates, so the gap must be a piece of its own.
_GAP = "\ue000"
_LONGEST_TOKEN = 16  # characters; longer ones are boilerplate of one corpus
_RARE_CHARACTER = 40  # occurrences below which a character outside GB2312 is left to the bytes


def train_tokenizer(
    texts: Sequence[str],
    *,
    vocab_size: int = 32000,
    alphabet: Alphabet = "gb2312",
    name: str = "trained",
) -> TextTokenizer:
    """Train a tokenizer; equal texts in equal order give an equal one on any machine.

    Args:
        texts: All training texts.
        vocab_size: Ids of the result, specials and bytes included; fewer where the texts hold
            too few pairs to merge.
        alphabet: Which characters get a token of their own, see `build_alphabet`.
        name: What to call it.

    Raises:
        UserError: `vocab_size` leaves no room for merges beside the alphabet.
    """
    characters = build_alphabet(texts, alphabet)
    fixed = len(_SPECIAL) + len(_BYTES) + len(characters)
    if vocab_size <= fixed:
        raise UserError(
            f"--vocab-size {vocab_size} is too small: {len(characters)} characters, 256 bytes and "
            f"{len(_SPECIAL)} special tokens need {fixed} before the first merge; give more"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*_SPECIAL, *_BYTES],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        max_token_length=_LONGEST_TOKEN,
        show_progress=False,
    )
    unknown = re.compile(f"[^{re.escape(''.join(characters))}]")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _pre_tokenizer()
    learner.train_from_iterator((unknown.sub(_GAP, text) for text in texts), trainer)
    backend = _assemble(json.loads(learner.to_str())["model"])
    return TextTokenizer(backend, _CONTROL, name=name)


def build_alphabet(texts: Sequence[str], kind: Alphabet = "gb2312") -> list[str]:
    """Return the characters that get a token of their own, in order of code points.

    `gb2312`: printable ASCII with tab and line breaks, GB2312 (hanzi, symbols, kana), the
    full-width forms, and what the texts use often: for every text that may come. `corpus`: what
    the texts use at all: for a toy that only needs to know them.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if kind == "corpus":
        return sorted(
            char for char in counts if unicodedata.category(char)[0] != "C" or char == "\n"
        )
    often = {char for char, count in counts.items() if count >= _RARE_CHARACTER}
    ascii_chars = {chr(code) for code in range(0x20, 0x7F)} | set("\t\n\r")
    full_width = {chr(code) for code in range(0xFF01, 0xFFE7)}
    printable = {c for c in often | _gb2312() | full_width if unicodedata.category(c)[0] != "C"}
    return sorted(printable | ascii_chars)


def _gb2312() -> set[str]:
    """Return all characters of GB2312, by decoding each of its two-byte codes.

    Python's own gb2312 codec turns the Chinese dash into U+2015 and the middle dot into U+30FB;
    gbk has the characters that texts use, U+2014 and U+00B7, at the same codes.
    """
    chars = set()
    for high in range(0xA1, 0xF8):
        for low in range(0xA1, 0xFF):
            chars |= set(bytes((high, low)).decode("gbk", "ignore"))
    return chars


def _assemble(model: dict) -> Tokenizer:
    """Build the final tokenizer: bytes are ordinary tokens, since `decode` drops special ones."""
    merges = [tuple(merge) for merge in model["merges"]]
    bpe = models.BPE(vocab=model["vocab"], merges=merges, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in _SPECIAL])
    return tokenizer


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
