"""Convert text to token ids and back, by the same rules everywhere.

A `TextTokenizer` wraps one Hugging Face `tokenizers.Tokenizer` and adds two promises: `bos`,
`eos` and `pad` are three distinct ids, and no text can forge them, because a literal `<eos>` or
`[SEP]` in a document is encoded like any other text. The files that `save` writes load in
transformers' AutoTokenizer with the same ids and the same decoded text.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from gpt2zh.config.errors import UserError
from gpt2zh.text import wordpiece

BUILTIN = "builtin"
HUB_NAMES = {
    "bert-base-chinese": "google-bert/bert-base-chinese",
    "google-bert/bert-base-chinese": "google-bert/bert-base-chinese",
}

_BUILTIN_DIR = Path(__file__).parent / "builtin"
_CONFIG = "tokenizer_config.json"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a byte token, as the vocabulary writes it
_PIECE = 100_000  # characters after which a very long text is cut
_LONG_TEXT = 4 * _PIECE  # longer texts are cut
_PIECES_AT_ONCE = 10

# Common tokenizers always split after a line break or the end of a sentence that a letter follows.
# A line break after a blank is not safe: GPT-2's pattern looks ahead over blanks.
_CUT = re.compile(r"(?:(?<=\S)\n|[。！？])(?=[^\W\d_])")
_CUT_PROBES = ("从前\n有山", "从前。有山！有庙？a b", "one\ntwo。three", "（一）。\n甲、乙")


@dataclass(frozen=True, kw_only=True)
class ControlTokens:
    """The texts of the special tokens; None if the vocabulary does not have one."""

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
            control: The ids of bos, eos and pad must differ.
            name: The name that the user gave, for manifests and messages.
        """
        backend.no_truncation()
        backend.no_padding()
        backend.post_processor = None  # packing adds the eos, nothing else is added
        backend.encode_special_tokens = True  # a literal <eos> in a text stays text
        self.name = name
        self.control = control
        self._backend = backend
        self.bos_id = self._id(control.bos_token)
        self.eos_id = self._id(control.eos_token)
        self.pad_id = self._id(control.pad_token)
        self.unk_id = self._id(control.unk_token) if control.unk_token else None
        self.cls_id = self._id(control.cls_token) if control.cls_token else None
        self.sep_id = self._id(control.sep_token) if control.sep_token else None
        assert len({self.bos_id, self.eos_id, self.pad_id}) == 3, control

    @cached_property
    def vocab_size(self) -> int:
        """Return the number of ids, with added tokens: the largest id plus one."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def hash(self) -> str:
        """Return the sha256 of tokenizer.json in a canonical layout."""
        table = json.loads(self._backend.to_str())
        text = json.dumps(table, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Encode one text; see `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts on all cores, without special tokens and without truncation."""
        if self._cuts_are_safe and any(len(text) > _LONG_TEXT for text in texts):
            return [
                self._encode_long(text) if len(text) > _LONG_TEXT else self._encode([text])[0]
                for text in texts
            ]
        return self._encode(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids to text; special tokens are skipped."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def settled(self, ids: Sequence[int]) -> int:
        """Return how many of the first `ids` decode the same, no matter which ids follow.

        A run of byte tokens is decoded as a whole: one more byte may make a character invalid.
        """
        count = len(ids)
        while count and _BYTE.fullmatch(self._backend.id_to_token(int(ids[count - 1])) or ""):
            count -= 1
        return count

    def save(self, folder: Path) -> None:
        """Write the files that `load_tokenizer` and transformers' AutoTokenizer load."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            # With these two settings AutoTokenizer agrees with this class on every text.
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
        """Encode a very long text in pieces, a few at a time."""
        ids: list[int] = []
        parts = cut_text(text)
        while group := list(islice(parts, _PIECES_AT_ONCE)):
            ids.extend(chain.from_iterable(self._encode(group)))
        return ids

    @cached_property
    def _cuts_are_safe(self) -> bool:
        """Return whether the pieces of a text have the ids of the whole text."""
        return all(
            list(chain.from_iterable(self._encode(list(cut_text(probe, longest=1)))))
            == self._encode([probe])[0]
            for probe in _CUT_PROBES
        )

    def _id(self, token: str) -> int:
        number = self._backend.token_to_id(token)
        assert number is not None, token
        return int(number)


def cut_text(text: str, *, longest: int = _PIECE) -> Iterator[str]:
    """Yield the pieces of a text, each a little longer than `longest` except for the last.

    An encoding takes about 200 bytes of memory per token and one core per text, so a book is better
    encoded in pieces. The cuts are where common tokenizers split anyway, so the ids do not change.
    """
    begin = 0
    while begin < len(text):
        match = _CUT.search(text, begin + longest)
        end = match.end() if match else len(text)
        yield text[begin:end]
        begin = end


def load_tokenizer(name_or_path: str | Path) -> TextTokenizer:
    """Load a tokenizer by name or from files.

    Args:
        name_or_path: `builtin`; `bert-base-chinese` (from the Hugging Face Hub); a BERT
            `vocab.txt`; or a folder with a `tokenizer.json` or a `vocab.txt`.

    Raises:
        UserError: There is no such tokenizer, or its files are not valid.
    """
    name = str(name_or_path)
    path = Path(name_or_path)
    if name == BUILTIN and not isinstance(name_or_path, Path):
        return _from_folder(_BUILTIN_DIR, name)
    if path.is_dir():
        return _from_folder(path, name)
    if path.is_file():
        if path.suffix != ".txt":
            raise UserError(
                f"tokenizer {name}: a file must be a BERT vocab.txt; for a tokenizer.json give its "
                f"folder ({path.parent})"
            )
        return _with_control(wordpiece.from_vocab(path, lowercase=True), {}, name)
    if name in HUB_NAMES:
        return _with_control(_from_hub(name), {}, name)
    raise UserError(
        f"no tokenizer '{name}': there is no such folder or vocab.txt; use {BUILTIN}, "
        "bert-base-chinese, or the path of a folder with a tokenizer.json (`hf download NAME "
        "--local-dir DIR` gets one from the Hub)"
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
            f"tokenizer {folder}: the folder has no tokenizer.json (a Hugging Face fast tokenizer) "
            "and no vocab.txt (BERT); convert a slow tokenizer to a fast one with "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    return _with_control(backend, config, name)


def _from_hub(name: str) -> Tokenizer:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every retry
    try:
        return Tokenizer.from_pretrained(HUB_NAMES[name])
    except Exception as error:  # each HTTP library raises its own kind
        raise UserError(
            f"tokenizer {name}: the Hugging Face Hub did not answer ({_first_line(error)}); copy "
            "its vocab.txt to this machine and give the path of the file, or use the builtin "
            "tokenizer, which needs no download"
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of special_tokens_map.json, overridden by tokenizer_config.json."""
    merged: dict[str, Any] = {}
    for file in ("special_tokens_map.json", _CONFIG):
        if not (folder / file).is_file():
            continue
        try:
            table = json.loads((folder / file).read_text("utf-8-sig"))
        except ValueError as error:
            raise UserError(f"{folder / file} is not valid JSON: {error}") from error
        merged |= {key: value for key, value in table.items() if value is not None}
    return merged


def _with_control(backend: Tokenizer, config: dict[str, Any], name: str) -> TextTokenizer:
    """Add missing control tokens to `backend`, and wrap it."""
    backend.encode_special_tokens = True
    if wordpiece.is_wordpiece(backend):
        wordpiece.adapt(backend, lowercase=config.get("do_lower_case"))
        # [PAD] and others have their own meaning in BERT: bos, eos and pad are three new tokens.
        named = {"unk_token": wordpiece.UNKNOWN, "cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        roles = [f"{role}_token" for role in ("unk", "cls", "sep", "bos", "eos", "pad")]
        named = {role: _token_text(config[role]) for role in roles if role in config}
    named = {role: token for role, token in named.items() if backend.token_to_id(token) is not None}
    if named.get("bos_token") == named.get("eos_token"):
        named.pop("bos_token", None)  # as in GPT-2: the shared token stays the eos
    taken = [named["unk_token"]] if "unk_token" in named else []
    for role in ("bos_token", "eos_token", "pad_token"):
        named[role] = _choose_token(backend, role, named.get(role), taken, name)
        taken.append(named[role])
    return TextTokenizer(backend, ControlTokens(**named), name=name)


def _choose_token(
    backend: Tokenizer, role: str, present: str | None, taken: Sequence[str], name: str
) -> str:
    """Return the token for `role`: the present one if it can be used, else a new one."""
    short = role.removesuffix("_token")
    for token in (present, f"<{short}>", f"<|{short}|>"):
        if token is None or token in taken:
            continue
        backend.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        # In some vocabularies (Unigram, WordLevel) a control token is an ordinary word too.
        if backend.token_to_id(token) not in backend.encode(token, add_special_tokens=False).ids:
            return token
    raise UserError(
        f"tokenizer {name}: every name tried for {role} is an ordinary word of its vocabulary, so "
        f"a text could forge it; remove <{short}> and <|{short}|> from the vocabulary"
    )


def _token_text(value: Any) -> str:
    """Return the text of a token, which Hugging Face stores as a string or a table."""
    return str(value["content"] if isinstance(value, dict) else value)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
