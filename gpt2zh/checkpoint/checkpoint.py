"""Checkpoints: one folder that is both a Hugging Face model and the whole state of a run.

    config.json generation_config.json model.safetensors tokenizer.json ...   the model, fp32
    optimizer-00000-of-00002.safetensors ...    the optimizer's moments by parameter name
    trainer_state.json config.yaml deepspeed.json identity.json ... manifest.json

Weights and moments are whole fp32 tensors by parameter name. So any ZeRO stage on any number of
ranks reads them, and the folder is a Hugging Face model without conversion (see `master_weights`).
DeepSpeed's own shards depend on both, and need a conversion to move. There is no state of random
numbers: those of a step follow from the seed (see `train.step`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gpt2zh.checkpoint import master_weights
from gpt2zh.checkpoint.snapshot import Snapshot
from gpt2zh.checkpoint.tensor_reader import WEIGHTS, open_tensors
from gpt2zh.checkpoint.tensor_writer import write_tensors
from gpt2zh.files import run_folder as files
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import TextTokenizer
from gpt2zh.train.engine import set_scaler_state
from gpt2zh.train.state import TrainState


@dataclass(frozen=True)
class RunFacts:
    """What every checkpoint of a run holds besides its state."""

    model: Any
    """The Hugging Face model, whose configs are saved."""
    tokenizer: TextTokenizer
    texts: dict[str, str]
    """Small text files by name: the resolved config, the DeepSpeed dict, the run's identity."""


def write(
    snapshot: Snapshot,
    temporary: Path,
    *,
    facts: RunFacts,
    world: World,
    note: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Write this rank's files of a checkpoint and sync them to disk.

    Args:
        snapshot: What to write.
        temporary: The folder, which exists.
        facts: What rank 0 adds.
        world: This rank's place.
        note: Called often with what is written now.

    Returns:
        The manifest entries of these files, by file name.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    name = f"optimizer-{world.rank:05d}-of-{world.size:05d}.safetensors"
    entries = {name: write_tensors(snapshot.moments, temporary / name, note=note)}
    if world.is_main:
        entries[WEIGHTS] = write_tensors(snapshot.weights, temporary / WEIGHTS, note=note)
        note("writing the small files")
        _write_model_folder(temporary, facts)
        (temporary / files.STATE).write_text(json.dumps(snapshot.described, indent=1), "utf-8")
        # Not the other ranks' files, which may still be growing.
        small = [p for p in temporary.iterdir() if not p.name.endswith(".safetensors")]
        entries |= files.make_entries(small)
    note("")
    return entries


def _write_model_folder(folder: Path, facts: RunFacts) -> None:
    config = copy.deepcopy(facts.model.config)
    config.pad_token_id = facts.tokenizer.pad_id
    config.architectures = [type(facts.model).__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    _add_old_names(folder / "config.json")
    facts.model.generation_config.save_pretrained(folder)
    facts.tokenizer.save(folder, context=config.n_positions, document_start=config.bos_token_id)
    for name, text in facts.texts.items():
        (folder / name).write_text(text, "utf-8")


def _add_old_names(file: Path) -> None:
    """Add the name of the dtype that transformers 4 and tools built on it read."""
    table = json.loads(file.read_text("utf-8"))
    table["torch_dtype"] = table["dtype"]
    file.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", "utf-8")


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Load fp32 weights into a new model, before the engine is built around it."""
    missing, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    tied = {"lm_head.weight"}
    assert not unexpected and set(missing) <= tied, (missing, unexpected)


def load_training(engine: Any, folder: Path) -> TrainState:
    """Restore moments, fp32 weights and loss scale, and return the progress."""
    described = files.read_state(folder)
    stored = open_tensors(folder)

    def read(kind: str, name: str) -> torch.Tensor:
        return stored[name if kind == "weight" else f"{kind}.{name}"].read()

    master_weights.restore(engine, read, described["updates"])
    set_scaler_state(engine, described["loss_scale"])
    return TrainState(**described["progress"])
