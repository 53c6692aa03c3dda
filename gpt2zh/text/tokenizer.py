"""Text to token ids and back, by the same rules wherever it runs.

A `TextTokenizer` wraps one Hugging Face `tokenizers.Tokenizer` and adds two promises: `bos`,
`eos` and `pad` are three distinct ids, and no text can forge them, because a literal `<eos>` or
`[SEP]` in a document is spelled out like any other text. What `save` writes loads in
transformers' AutoTokenizer with the same ids and the same decoded text.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from gpt2zh.config.errors import UserError
from gpt2zh.text import pieces, wordpiece

BUILTIN = "builtin"
HUB_NAMES = {
    "bert-base-chinese": "google-bert/bert-base-chinese",
    "google-bert/bert-base-chinese": "google-bert/bert-base-chinese",
}

_BUILTIN_DIR = Path(__file__).parent / "builtin"
_CONFIG = "tokenizer_config.json"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # how a byte token is written in the vocabulary
_LONG_TEXT = 4 * pieces.PIECE  # characters
_PIECES_AT_ONCE = 10


@dataclass(frozen=True, kw_only=True)
class ControlTokens:
    """The texts of the tokens that steer the model; absent where the vocabulary has none."""

    bos_token: str
    eos_token: str
    pad_token: str
    unk_token: str | None = None
    cls_token: str | None = None
    sep_token: str | None = None


class TextTokenizer:
    """A tokenizer with distinct, unforgeable control tokens."""

    def __init__(self, backend: Tokenizer, control: ControlTokens, *, name: str) -> None:
        """Wrap `backend`, which must hold all of `control`.

        Args:
            backend: Changed in place: nothing is truncated, padded or put around a text.
            control: Their ids must differ from one another.
            name: What the user called it, for manifests and messages.
        """
        backend.no_truncation()
        backend.no_padding()
        backend.post_processor = None  # documents get their eos from packing, and nothing else
        backend.encode_special_tokens = True  # a literal <eos> in a text stays text
        self.name = name
        self.control = control
        self._backend = backend
        self.bos_id = self._id(control.bos_token)
        self.eos_id = self._id(control.eos_token)
        self.pad_id = self._id(control.pad_token)
        self.cls_id = self._id(control.cls_token) if control.cls_token else None
        self.sep_id = self._id(control.sep_token) if control.sep_token else None
        assert len({self.bos_id, self.eos_id, self.pad_id}) == 3, control

    @cached_property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included: the largest id plus one."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def hash(self) -> str:
        """Sha256 over the meaning of tokenizer.json, whatever its layout."""
        return _canonical_hash(json.loads(self._backend.to_str()))

    def encode(self, text: str) -> list[int]:
        """Encode one text; see `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts on all cores; no special token is added, nothing is cut off."""
        if self._cuts_are_safe and any(len(text) > _LONG_TEXT for text in texts):
            return [
                self._encode_long(text) if len(text) > _LONG_TEXT else self._encode([text])[0]
                for text in texts
            ]
        return self._encode(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """Write ids back as text; special tokens are left out."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def settled(self, ids: Sequence[int]) -> int:
        """How many of `ids`, from the first, are read the same whatever ids follow.

        A run of bytes is read as a whole: one more may turn what was a character into none.
        """
        count = len(ids)
        while count and _BYTE.fullmatch(self._backend.id_to_token(int(ids[count - 1])) or ""):
            count -= 1
        return count

    def save(self, folder: Path) -> None:
        """Write the files that `load_tokenizer` and transformers' AutoTokenizer read."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            # The two settings that make AutoTokenizer agree with this class on every text.
            "split_special_tokens": True,
            "clean_up_tokenization_spaces": False,
            **{role: token for role, token in asdict(self.control).items() if token},
        }
        (folder / "tokenizer.json").write_text(self._backend.to_str(), "utf-8")
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        (folder / _CONFIG).write_text(text, "utf-8")

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _encode_long(self, text: str) -> list[int]:
        """Encode a very long text in pieces, a few at a time, with the ids of the whole."""
        ids: list[int] = []
        parts = pieces.cut(text)
        while group := list(islice(parts, _PIECES_AT_ONCE)):
            ids.extend(chain.from_iterable(self._encode(group)))
        return ids

    @cached_property
    def _cuts_are_safe(self) -> bool:
        return pieces.is_safe(lambda text: self._encode([text])[0])

    def _id(self, token: str) -> int:
        number = self._backend.token_to_id(token)
        assert number is not None, token
        return int(number)


def load_tokenizer(name_or_path: str | Path) -> TextTokenizer:
    """Load a tokenizer by name or from files.

    Args:
        name_or_path: `builtin`; `bert-base-chinese` (from the hub of Hugging Face); a BERT
            `vocab.txt`; or a folder with a `tokenizer.json` or a `vocab.txt`.

    Raises:
        UserError: There is no such tokenizer, or its files are not usable.
    """
    name = str(name_or_path)
    path = Path(name_or_path)
    if name == BUILTIN:
        return _from_folder(_BUILTIN_DIR, name)
    if path.is_dir():
        return _from_folder(path, name)
    if path.is_file():
        if path.suffix != ".txt":
            raise UserError(
                f"tokenizer {name}: a file must be a BERT vocab.txt; for a tokenizer.json give the "
                f"folder that holds it ({path.parent})"
            )
        return _with_control(wordpiece.from_vocab(path, lowercase=True), {}, name)
    if name in HUB_NAMES:
        return _with_control(_from_hub(name), {}, name)
    raise UserError(
        f"no tokenizer '{name}': it is neither a folder nor a vocab.txt on this machine; give "
        f"{BUILTIN}, bert-base-chinese, or the path of a folder with a tokenizer.json "
        "(`hf download NAME --local-dir DIR` fetches one from the hub)"
    )


def _from_folder(folder: Path, name: str) -> TextTokenizer:
    config = _read_config(folder)
    if (folder / "tokenizer.json").is_file():
        try:
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the Rust side raises plain Exception
            raise UserError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error}") from error
    elif (folder / "vocab.txt").is_file():
        lowercase = bool(config.get("do_lower_case", True))
        backend = wordpiece.from_vocab(folder / "vocab.txt", lowercase=lowercase)
    else:
        raise UserError(
            f"tokenizer {folder}: no tokenizer.json (a Hugging Face fast tokenizer) and no "
            "vocab.txt (BERT) in this folder; a slow tokenizer becomes a fast one with "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    return _with_control(backend, config, name)


def _from_hub(name: str) -> Tokenizer:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports each of its retries
    try:
        return Tokenizer.from_pretrained(HUB_NAMES[name])
    except Exception as error:  # each HTTP library below raises its own
        raise UserError(
            f"tokenizer {name}: the hub of Hugging Face did not answer ({_first_line(error)}); "
            "copy its vocab.txt here and give that file's path, or use the builtin tokenizer, "
            "which needs no download"
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of tokenizer_config.json over those of special_tokens_map.json."""
    merged: dict[str, Any] = {}
    for file in ("special_tokens_map.json", _CONFIG):
        if not (folder / file).is_file():
            continue
        try:
            table = json.loads((folder / file).read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"{folder / file} is not valid JSON: {error}") from error
        merged |= {key: value for key, value in table.items() if value is not None}
    return merged


def _with_control(backend: Tokenizer, config: dict[str, Any], name: str) -> TextTokenizer:
    """Give `backend` the control tokens it lacks, and wrap it."""
    backend.encode_special_tokens = True
    if wordpiece.is_wordpiece(backend):
        wordpiece.adapt(backend, lowercase=config.get("do_lower_case"))
        # [PAD] and friends have their own meaning in BERT: bos, eos and pad are three new tokens.
        named = {"unk_token": wordpiece.UNKNOWN, "cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        roles = [f"{role}_token" for role in ("unk", "cls", "sep", "bos", "eos", "pad")]
        named = {role: _token_text(config[role]) for role in roles if role in config}
    named = {role: token for role, token in named.items() if backend.token_to_id(token) is not None}
    if named.get("bos_token") == named.get("eos_token"):
        named.pop("bos_token", None)  # one token for both, as in GPT-2: it stays the eos
    taken = [named["unk_token"]] if "unk_token" in named else []
    for role in ("bos_token", "eos_token", "pad_token"):
        named[role] = _choose(backend, role, named.get(role), taken, name)
        taken.append(named[role])
    return TextTokenizer(backend, ControlTokens(**named), name=name)


def _choose(
    backend: Tokenizer, role: str, present: str | None, taken: Sequence[str], name: str
) -> str:
    """Return the token for `role`: the present one if it serves, else a new one."""
    short = role.removesuffix("_token")
    for token in (present, f"<{short}>", f"<|{short}|>"):
        if token is None or token in taken:
            continue
        backend.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        # Some vocabularies (Unigram, WordLevel) hold a control token as an ordinary word too.
        if backend.token_to_id(token) not in backend.encode(token, add_special_tokens=False).ids:
            return token
    raise UserError(
        f"tokenizer {name}: every name tried for {role} is an ordinary word of its vocabulary, so "
        f"a text could forge it; take <{short}> and <|{short}|> out of the vocabulary"
    )


def _token_text(value: Any) -> str:
    """Return a token's text; Hugging Face writes it bare or as a table with `content`."""
    return str(value["content"] if isinstance(value, dict) else value)


def _canonical_hash(table: Any) -> str:
    text = json.dumps(table, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
