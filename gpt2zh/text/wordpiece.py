"""Build BERT's WordPiece from a vocab.txt, with a decoder that writes Chinese without spaces."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from gpt2zh.config.errors import UserError

UNKNOWN = "[UNK]"
_SPECIAL = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")

# Ideographs, kana, CJK and full-width punctuation, and the quotes, dashes and dots that Chinese
# shares with Latin. The space that joins two tokens is removed next to one of these.
_WIDE = r"[\p{Han}\p{Hiragana}\p{Katakana}\x{3000}-\x{303F}\x{FE30}-\x{FE4F}\x{FF00}-\x{FFEF}"
_WIDE += r"\x{2014}\x{2018}-\x{201D}\x{2026}\x{00B7}]"
_NEEDLESS_SPACE = rf"(?<={_WIDE}) | (?={_WIDE})| (?=[.,!?])"


def from_vocab(path: Path, *, lowercase: bool) -> Tokenizer:
    """Build the tokenizer that BertTokenizerFast builds from the same vocab.txt.

    Raises:
        UserError: The file is not a BERT vocabulary.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); give BERT's own vocab.txt") from error
    # Split at "\n" only: some entries are Unicode line separators, at which str.splitlines() would
    # split too, and shift every id after them.
    lines = text.removesuffix("\n").split("\n")
    vocab = {line.removesuffix("\r"): number for number, line in enumerate(lines)}
    missing = [token for token in _SPECIAL[1:4] if token not in vocab]
    if missing:
        raise UserError(
            f"{path} has {len(vocab)} entries but lacks {', '.join(missing)}, so it is not a BERT "
            "vocabulary; give a vocab.txt with one token per line"
        )
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = _make_normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([token for token in _SPECIAL if token in vocab])
    return tokenizer


def is_wordpiece(tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer is a WordPiece tokenizer."""
    return isinstance(tokenizer.model, models.WordPiece)


def adapt(tokenizer: Tokenizer, *, lowercase: bool | None) -> None:
    """Set the decoder, and whether text is lowercased if that is given.

    Args:
        tokenizer: Changed in place.
        lowercase: `do_lower_case` of tokenizer_config.json, which overrides tokenizer.json as in
            BertTokenizerFast; None changes nothing.
    """
    if lowercase is not None and isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        tokenizer.normalizer.lowercase = bool(lowercase)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(_NEEDLESS_SPACE), ""),
        ]
    )


def _make_normalizer(lowercase: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
