"""Train a character-level BPE with byte fallback, the kind of the builtin tokenizer.

The alphabet is characters, not bytes: a hanzi is one token before any merge. Characters outside the
alphabet are spelled in UTF-8 bytes (`<0xE4>` ...), so every text is written back exactly. Merges
stay inside a run of hanzi, a word, a number or a run of punctuation.
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

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The tokens of the 256 bytes, in which characters outside the alphabet are spelled."""

Alphabet = Literal["gb2312", "corpus"]

# Letters, digits and punctuation are never in the same piece, so no merge can build the text
# "<0x41>", which would be decoded as a byte, or "<eos>".
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

# Replaces each character outside the alphabet in training texts. The trainer would drop such a
# character and merge its neighbours; the replacement keeps them apart, as a piece of its own.
_GAP = "\ue000"
_LONGEST_TOKEN = 16  # characters; longer tokens are boilerplate of one corpus
_RARE_CHARACTER = 40  # a character outside GB2312 with fewer occurrences is spelled in bytes


def train_tokenizer(
    texts: Sequence[str],
    *,
    vocab_size: int = 32000,
    alphabet: Alphabet = "gb2312",
    name: str = "trained",
    show_progress: bool = False,
) -> TextTokenizer:
    """Train a tokenizer. Equal texts in equal order give an equal tokenizer on any machine.

    Args:
        texts: All training texts.
        vocab_size: Number of ids, with special tokens and bytes. The result has fewer if the texts
            have too few pairs to merge.
        alphabet: Which characters get a token of their own, see `build_alphabet`.
        name: Name of the tokenizer.
        show_progress: Show bars on the terminal.

    Raises:
        UserError: `vocab_size` is too small for the alphabet.
    """
    characters = build_alphabet(texts, alphabet)
    fixed = len(_SPECIAL) + len(BYTE_TOKENS) + len(characters)
    if vocab_size <= fixed:
        raise UserError(
            f"--vocab-size {vocab_size} is too small: {len(characters)} characters, 256 bytes and "
            f"{len(_SPECIAL)} special tokens need {fixed} ids before the first merge; use "
            "a larger number"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*_SPECIAL, *BYTE_TOKENS],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        max_token_length=_LONGEST_TOKEN,
        show_progress=show_progress,
    )
    unknown = re.compile(f"[^{re.escape(''.join(characters))}]")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _make_pre_tokenizer()
    learner.train_from_iterator((unknown.sub(_GAP, text) for text in texts), trainer)
    backend = _assemble(json.loads(learner.to_str())["model"])
    return TextTokenizer(backend, _CONTROL, name=name)


def build_alphabet(texts: Sequence[str], kind: Alphabet = "gb2312") -> list[str]:
    """Return the characters that get a token of their own, in order of code points.

    Args:
        texts: Training texts.
        kind: `gb2312`: printable ASCII with tab and line breaks, GB2312 (hanzi, symbols, kana), the
            full-width forms, and the frequent characters of the texts; fits any text. `corpus`:
            all characters of the texts; fits a toy model that only sees these texts.
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
    printable = {
        c for c in often | _list_gb2312() | full_width if unicodedata.category(c)[0] != "C"
    }
    return sorted(printable | ascii_chars)


def _list_gb2312() -> set[str]:
    """Return all characters of GB2312, by decoding each of its two-byte codes.

    Python's gb2312 codec decodes the Chinese dash as U+2015 and the middle dot as U+30FB. The gbk
    codec has at the same codes the characters that texts use, U+2014 and U+00B7.
    """
    chars = set()
    for high in range(0xA1, 0xF8):
        for low in range(0xA1, 0xFF):
            chars |= set(bytes((high, low)).decode("gbk", "ignore"))
    return chars


def _assemble(model: dict) -> Tokenizer:
    """Build the final tokenizer. Bytes are ordinary tokens, because `decode` skips special ones."""
    merges = [tuple(merge) for merge in model["merges"]]
    bpe = models.BPE(vocab=model["vocab"], merges=merges, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = _make_pre_tokenizer()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in _SPECIAL])
    return tokenizer


def _make_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
