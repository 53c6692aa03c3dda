"""Load a GPT-2 and its tokenizer from a Hugging Face folder, such as any checkpoint.

Only files of the folder are read, weights only from safetensors, and no code of the folder runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import GPT2LMHeadModel
from transformers.utils.logging import disable_progress_bar

from gpt2zh.config.errors import UserError, attempt, raise_all
from gpt2zh.config.tables import parse_json
from gpt2zh.model.shape import padded_vocabulary
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")  # whole, or in several files
_WITH_LM_WEIGHTS = ("GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel")


def load_pretrained(
    folder: Path, *, dtype: torch.dtype, device: torch.device
) -> tuple[GPT2LMHeadModel, TextTokenizer]:
    """Load a GPT-2 of this project or any other, and its tokenizer.

    Control tokens that the folder's tokenizer lacks (bos, eos or pad) get new rows in the
    embedding, each the mean of all others; they are never generated.

    Args:
        folder: Holds config.json, safetensors, and tokenizer.json or vocab.txt.
        dtype: Type of the weights in memory, whatever type the files have.
        device: Where the model goes.

    Returns:
        The model in evaluation mode, and the tokenizer.

    Raises:
        UserError: A file is missing or damaged, or it is not a causal GPT-2; lists all faults.
    """
    config = _read_config(folder)
    faults = _config_faults(folder, config)
    tokenizer = attempt(lambda: load_tokenizer(folder), faults)
    if tokenizer is not None and not faults:
        faults += _vocabulary_faults(folder, config, tokenizer)
    faults += _weights_faults(folder)
    raise_all(faults, f"model folder {folder}")
    assert tokenizer is not None
    model = _load_model(folder, dtype)
    if tokenizer.vocab_size > len(model.transformer.wte.weight):
        _add_rows(model, tokenizer)
    return model.to(device).eval(), tokenizer


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"model folder {folder} has no config.json; {_nearby(folder)}")
    try:
        # A byte order mark is refused here, because transformers reads the file again.
        config = parse_json(file.read_text("utf-8"), str(file))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds a {type(config).__name__}; it must be a JSON object")
    return config


def _nearby(folder: Path) -> str:
    """Name the checkpoints in the folder, or next to it if it does not exist."""
    for place in (folder, folder.parent):
        found = [
            path.name for path in place.glob("checkpoint-*") if (path / "config.json").exists()
        ]
        if found:
            names = ", ".join(sorted(found, key=lambda name: (len(name), name)))
            return f"{place} has {names}: use one of them"
    return "check the path: it must be a Hugging Face GPT-2 folder, such as a checkpoint of a run"


def _config_faults(folder: Path, config: dict[str, Any]) -> list[str]:
    kind = config.get("model_type")
    if kind != "gpt2":
        return [
            f"{folder / 'config.json'} has model_type {kind!r}; it must be 'gpt2', a causal "
            "language model; use the folder of a GPT-2"
        ]
    heads = config.get("architectures") or []
    if heads and not set(heads) & set(_WITH_LM_WEIGHTS):
        return [
            f"{folder / 'config.json'} has architectures {heads}, which is not a causal language "
            f"model; use the folder of a {_WITH_LM_WEIGHTS[0]}"
        ]
    return []


def _vocabulary_faults(folder: Path, config: dict[str, Any], tokenizer: TextTokenizer) -> list[str]:
    """Refuse ids without an embedding, except those of control tokens, which may be new."""
    rows = config.get("vocab_size", 50257)
    if not isinstance(rows, int):
        return [
            f"{folder / 'config.json'} has vocab_size {rows!r}, which is not an integer; copy the "
            "file again"
        ]
    control = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}
    without = set(range(rows, tokenizer.vocab_size)) - control
    if not without:
        return []
    return [
        f"the tokenizer of {folder} has {tokenizer.vocab_size} ids, but the model's embedding has "
        f"{rows} rows (vocab_size in config.json); use the tokenizer the model was trained with"
    ]


def _weights_faults(folder: Path) -> list[str]:
    if any((folder / name).is_file() for name in _WEIGHTS):
        return []
    if not any(folder.glob("pytorch_model*.bin")):
        return [f"{folder} has no model.safetensors; download or copy the weights again"]
    return [
        f"{folder} has weights in pytorch_model.bin only, a pickle, which can run code when it is "
        "opened; model.safetensors is needed. If you trust its source, convert it once (this reads "
        'tensors only): python -c "from transformers import GPT2LMHeadModel as M; '
        f"M.from_pretrained('{folder}', use_safetensors=False, weights_only=True)"
        f".save_pretrained('{folder}')\""
    ]


def _load_model(folder: Path, dtype: torch.dtype) -> GPT2LMHeadModel:
    disable_progress_bar()  # loading takes a second
    try:
        model, report = GPT2LMHeadModel.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the model in {folder} cannot be loaded: {error}; its config.json and safetensors "
            "must be complete and belong together; copy them again"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the safetensors of {folder} lack {len(missing)} tensors of the model ({missing[0]} "
            "...), which would have random values; copy the weights again"
        )
    return model


def _add_rows(model: GPT2LMHeadModel, tokenizer: TextTokenizer) -> None:
    """Add embeddings for the new control tokens, and padding up to a size that computes fast."""
    old = len(model.transformer.wte.weight)
    size = padded_vocabulary(tokenizer.vocab_size)
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for table in (model.transformer.wte.weight, model.lm_head.weight):  # one, if they are tied
            table[old:] = table[:old].mean(dim=0)
    settings = model.generation_config
    settings.suppress_tokens = sorted({*(settings.suppress_tokens or []), *range(old, size)})
