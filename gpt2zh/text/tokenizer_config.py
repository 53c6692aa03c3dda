"""Read and write tokenizer_config.json, by which transformers uses a tokenizer.

It must give the right result in every version of transformers from 4.46 on, and in what is built on
it: `make compat` compares them. So nothing is left to the defaults, which differ between versions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt2zh.config.errors import UserError
from gpt2zh.config.tables import load_json

FILE = "tokenizer_config.json"
_OWN = "gpt2zh"
"""Key of the settings that only this project reads; transformers keeps it as it is."""


def write_config(
    folder: Path,
    control: dict[str, str],
    *,
    context: int | None = None,
    document_start: str | None = None,
) -> None:
    """Write the file.

    A text that spells a special token, such as "<eos>", is that token in transformers: chat
    templates are texts, too. This project itself never reads a text so (`TextTokenizer`), and
    `split_special_tokens=True` in a call of transformers' tokenizer gives the same ids.

    Args:
        folder: Exists.
        control: Texts of the special tokens by role: bos_token, eos_token and others.
        context: Maximum sequence length in tokens of the model; None if there is no model.
        document_start: The token before every document of the training rows. Other tools begin a
            text with bos_token, so it gets this name. None keeps that of `control`.
    """
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        # Without it, transformers 4 adds token_type_ids of 0. GPT-2 looks them up in the embedding
        # of tokens, and adds that of token 0 to every position.
        "model_input_names": ["input_ids", "attention_mask"],
        # A prompt must end where its continuation begins.
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        **control,
    }
    if context is not None:
        config["model_max_length"] = context
    if document_start is not None and document_start != control["bos_token"]:
        config["bos_token"] = document_start
        config[_OWN] = {"bos_token": control["bos_token"]}
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    (folder / FILE).write_text(text, "utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of special_tokens_map.json, overridden by tokenizer_config.json.

    Roles of tokens that `write_config` changed are what they were.

    Raises:
        UserError: A file is not a JSON object.
    """
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", FILE):
        path = folder / name
        if not path.is_file():
            continue
        table = load_json(path, str(path))
        if not isinstance(table, dict):
            raise UserError(f"{path} holds a {type(table).__name__}; it must be a JSON object")
        merged |= {key: value for key, value in table.items() if value is not None}
    own = merged.pop(_OWN, {})
    return merged | (own if isinstance(own, dict) else {})
