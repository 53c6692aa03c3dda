"""Make a BERT vocabulary lossless without changing any of its ids.

The result is a BPE over BERT's own tokens ("##" still marks the inside of a word), without a
normalizer. Common characters that the vocabulary lacks get new ids after the old ones; all others
are spelled in UTF-8 bytes. Hanzi, single digits, punctuation and whole words keep their ids. Longer
Latin words and numbers are built by merges, where BERT takes the longest match, so some of them are
split differently. Capitals are not changed to lower case.
"""

from __future__ import annotations

import json
import string
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from gpt2zh.config.errors import UserError
from gpt2zh.text import wordpiece
from gpt2zh.text.tokenizer import TextTokenizer
from gpt2zh.text.training import BYTE_TOKENS, build_alphabet

_INSIDE = "##"  # BERT's prefix of a token inside a word
_WORD_CHARACTERS = string.ascii_letters + string.digits
# Spaces that code and verse repeat, and the dash and the dots that Chinese always doubles.
_RUNS = (" " * 16, " " * 8, " " * 4, " " * 2, "\n\n", "\r\n", "\u3000\u3000", "——", "……")


@dataclass(frozen=True)
class Repair:
    """A repaired tokenizer, and what is new in it."""

    tokenizer: TextTokenizer
    characters: tuple[str, ...]
    """New tokens of one character, including spaces and capitals."""
    runs: tuple[str, ...]
    """New tokens of one character repeated."""
    tokens: int
    """Number of all new ids: also of letters inside words and of bytes."""


def repair(tokenizer: TextTokenizer, texts: Sequence[str] = (), *, name: str) -> Repair:
    """Extend a BERT tokenizer so that it writes every text back exactly.

    Args:
        tokenizer: A tokenizer that `load_tokenizer` made from a WordPiece vocabulary.
        texts: Their frequent characters get ids of their own, like those of GB2312.
        name: Name of the result.

    Raises:
        UserError: The vocabulary is not a WordPiece vocabulary.
    """
    check_repairable(tokenizer)
    backend: Tokenizer = tokenizer._backend
    old = backend.get_vocab(with_added_tokens=True)
    characters = [character for character in build_alphabet(texts) if character not in old]
    runs = [run for run in _RUNS if not set(run) & set(old)]
    letters = [_INSIDE + character for character in _WORD_CHARACTERS]
    vocab = _extend(old, [*characters, *runs, *letters, *BYTE_TOKENS])
    in_words = _find_word_characters(backend, old)
    bpe = models.BPE(
        vocab=vocab,
        merges=_build_merges(vocab, in_words),
        continuing_subword_prefix=_INSIDE,
        byte_fallback=True,
        ignore_merges=True,  # a word that is a token stays whole, regardless of the merges
    )
    built = Tokenizer(bpe)
    built.pre_tokenizer = pre_tokenizers.Split(Regex(_write_pattern(in_words, runs)), "isolated")
    built.decoder = decoders.Sequence(
        # Applied to each token alone: "##" in a text is two tokens "#", so it is kept.
        [decoders.Replace(Regex(r"\A##(?=.)"), ""), decoders.ByteFallback(), decoders.Fuse()]
    )
    _mark_added(built, json.loads(backend.to_str())["added_tokens"])
    return Repair(
        TextTokenizer(built, tokenizer.control, name=name),
        tuple(characters),
        tuple(runs),
        len(vocab) - len(old),
    )


def is_repairable(tokenizer: TextTokenizer) -> bool:
    """Return whether the vocabulary is a WordPiece vocabulary, as BERT has."""
    return wordpiece.is_wordpiece(tokenizer._backend)


def check_repairable(tokenizer: TextTokenizer) -> None:
    """Check that the vocabulary can be repaired.

    Raises:
        UserError: It is not a WordPiece vocabulary.
    """
    if not is_repairable(tokenizer):
        kind = type(tokenizer._backend.model).__name__
        raise UserError(
            f"tokenizer {tokenizer.name} cannot be repaired: its vocabulary is {kind}, and only "
            "BERT's WordPiece can be repaired; use --tokenizer builtin, which is lossless, or "
            "train one on your own texts (python -m data_tools train-tokenizer)"
        )


def _extend(old: dict[str, int], tokens: Iterable[str]) -> dict[str, int]:
    """Return `old` extended by those of `tokens` that it lacks, with ids after its last one."""
    vocab = dict(old)
    free = max(old.values()) + 1
    for token in tokens:
        if token not in vocab:
            vocab[token] = free
            free += 1
    return vocab


def _find_word_characters(backend: Tokenizer, old: Collection[str]) -> set[str]:
    """Return the characters that BERT joins into words and that have a token inside a word.

    Byte fallback would spell the "##" of a character inside a word, too. So a word may contain only
    characters that have a token both at its beginning and inside it.
    """
    normalizer = backend.normalizer
    characters = set(_WORD_CHARACTERS)
    for token in old:
        if len(token) != 1 or _INSIDE + token not in old:
            continue
        if normalizer is not None and normalizer.normalize_str(token) != token:
            continue
        if len(backend.pre_tokenizer.pre_tokenize_str(f"a{token}a")) == 1:
            characters.add(token)
    return characters


def _build_merges(vocab: dict[str, int], characters: set[str]) -> list[tuple[str, str]]:
    """Return all ways to build a token from two others, ordered by priority.

    Merges at the beginning of a word come first, because BERT takes the longest match from the
    left. Then the order of the vocabulary decides, which is by frequency.
    """
    merges = []
    for token, number in vocab.items():
        inside = _INSIDE if token.startswith(_INSIDE) else ""
        body = token.removeprefix(inside)
        if len(body) < 2 or not characters.issuperset(body):
            continue
        for cut in range(1, len(body)):
            left, right = inside + body[:cut], _INSIDE + body[cut:]
            if left in vocab and right in vocab:
                merges.append((bool(inside), number, cut, left, right))
    return [(left, right) for *_, left, right in sorted(merges)]


def _write_pattern(characters: set[str], runs: Sequence[str]) -> str:
    """Return the pattern of the pre-tokenizer: a run, a word, or one character."""
    word = _escape("".join(sorted(characters)))
    return "|".join([*map(_escape, runs), f"[{word}]+", f"[^{word}]"])


def _escape(text: str) -> str:
    """Return a pattern that matches the text literally."""
    return "".join(rf"\x{{{ord(character):X}}}" for character in text)


def _mark_added(backend: Tokenizer, added: Sequence[dict]) -> None:
    """Add the control tokens and all other added tokens of the old tokenizer again."""
    for entry in added:
        token = AddedToken(entry["content"], normalized=False, special=entry["special"])
        if entry["special"]:
            backend.add_special_tokens([token])
        else:
            backend.add_tokens([token])
