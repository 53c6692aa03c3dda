"""Make a BERT vocabulary lossless without moving any of its ids.

The result is a BPE over BERT's own tokens ("##" marks the inside of a word as before), with no
normaliser: what the vocabulary lacks gets new ids behind the old ones, and all else is spelled in
UTF-8 bytes. Hanzi, digits alone, punctuation and whole words keep their ids. Longer Latin words
and numbers are built by merges where BERT took the longest match, so some of them are cut
elsewhere, and capitals are letters of their own instead of lower case.
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
from gpt2zh.text.training import build_alphabet

_INSIDE = "##"  # how BERT writes a token that does not begin a word
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_WORD_SIGNS = string.ascii_letters + string.digits
# Blanks that code and verse repeat, and the dash and the dots that Chinese always doubles.
_RUNS = (" " * 16, " " * 8, " " * 4, " " * 2, "\n\n", "\r\n", "\u3000\u3000", "——", "……")


@dataclass(frozen=True)
class Repair:
    """A repaired tokenizer, and what it has beyond the old one."""

    tokenizer: TextTokenizer
    characters: tuple[str, ...]
    """New characters, blanks and capitals among them."""
    runs: tuple[str, ...]
    """New tokens for the same character repeated."""
    tokens: int
    """All new ids: the above, letters inside words and the bytes too."""


def repair(tokenizer: TextTokenizer, texts: Sequence[str] = (), *, name: str) -> Repair:
    """Extend a BERT tokenizer so that every text comes back exactly.

    Args:
        tokenizer: One that `load_tokenizer` made of a WordPiece vocabulary.
        texts: What they use often gets ids of its own, besides GB2312.
        name: What to call the result.

    Raises:
        UserError: The vocabulary is of another kind.
    """
    check_repairable(tokenizer)
    backend: Tokenizer = tokenizer._backend
    old = backend.get_vocab(with_added_tokens=True)
    characters = [sign for sign in build_alphabet(texts) if sign not in old]
    runs = [run for run in _RUNS if not set(run) & set(old)]
    letters = [_INSIDE + sign for sign in _WORD_SIGNS]
    vocab = _extend(old, [*characters, *runs, *letters, *_BYTES])
    in_words = _word_signs(backend, old)
    bpe = models.BPE(
        vocab=vocab,
        merges=_merges(vocab, in_words),
        continuing_subword_prefix=_INSIDE,
        byte_fallback=True,
        ignore_merges=True,  # a word that is a token is that token, whatever the merges say
    )
    built = Tokenizer(bpe)
    built.pre_tokenizer = pre_tokenizers.Split(Regex(_pieces(in_words, runs)), "isolated")
    built.decoder = decoders.Sequence(
        # Each token by itself: a text's own "##" is two tokens "#".
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
    """Tell whether the vocabulary is one of BERT's kind."""
    return wordpiece.is_wordpiece(tokenizer._backend)


def check_repairable(tokenizer: TextTokenizer) -> None:
    """Refuse a vocabulary of another kind.

    Raises:
        UserError: It is one.
    """
    if not is_repairable(tokenizer):
        kind = type(tokenizer._backend.model).__name__
        raise UserError(
            f"tokenizer {tokenizer.name} has no BERT vocabulary but {kind}, and only WordPiece can "
            "be repaired; take --tokenizer builtin, which is lossless, or train one on your own "
            "texts (python -m data_tools train-tokenizer)"
        )


def _extend(old: dict[str, int], tokens: Iterable[str]) -> dict[str, int]:
    """Return `old` and, behind its last id, those of `tokens` that it lacks."""
    vocab = dict(old)
    free = max(old.values()) + 1
    for token in tokens:
        if token not in vocab:
            vocab[token] = free
            free += 1
    return vocab


def _word_signs(backend: Tokenizer, old: Collection[str]) -> set[str]:
    """Return the characters that BERT joins into words and can also write inside one.

    Byte fallback spells a continuing character with its "##", so a word may hold only characters
    that have a token for both places.
    """
    signs = set(_WORD_SIGNS)
    for sign in old:
        if len(sign) != 1 or _INSIDE + sign not in old:
            continue
        if backend.normalizer is not None and backend.normalizer.normalize_str(sign) != sign:
            continue
        if len(backend.pre_tokenizer.pre_tokenize_str(f"a{sign}a")) == 1:
            signs.add(sign)
    return signs


def _merges(vocab: dict[str, int], signs: set[str]) -> list[tuple[str, str]]:
    """Return all ways to build each token of two others, the most wanted first.

    The beginning of a word grows before its inside does, for BERT takes the longest match from the
    left; then the order of the vocabulary decides, which is by frequency.
    """
    merges = []
    for token, number in vocab.items():
        inside = _INSIDE if token.startswith(_INSIDE) else ""
        body = token.removeprefix(inside)
        if len(body) < 2 or not signs.issuperset(body):
            continue
        for cut in range(1, len(body)):
            left, right = inside + body[:cut], _INSIDE + body[cut:]
            if left in vocab and right in vocab:
                merges.append((bool(inside), number, cut, left, right))
    return [(left, right) for *_, left, right in sorted(merges)]


def _pieces(signs: set[str], runs: Sequence[str]) -> str:
    """Return the pattern of what is encoded by itself: a run, a word, or one character."""
    word = _spelled("".join(sorted(signs)))
    return "|".join([*map(_spelled, runs), f"[{word}]+", f"[^{word}]"])


def _spelled(text: str) -> str:
    """Write each character so that it means itself in a pattern."""
    return "".join(rf"\x{{{ord(sign):X}}}" for sign in text)


def _mark_added(backend: Tokenizer, added: Sequence[dict]) -> None:
    """Mark the control tokens, and whatever else had been added to the vocabulary, as before."""
    for entry in added:
        token = AddedToken(entry["content"], normalized=False, special=entry["special"])
        if entry["special"]:
            backend.add_special_tokens([token])
        else:
            backend.add_tokens([token])
