"""`gpt2zh verify checkpoint`: check that the files of a checkpoint are complete and correct."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gpt2zh.checkpoint.tensor_reader import find_tensor_faults
from gpt2zh.config.errors import UserError
from gpt2zh.data import chain
from gpt2zh.files import run_folder as files
from gpt2zh.model.build import shapes_in
from gpt2zh.pages.numbers import memory, plural
from gpt2zh.verify.options import VerifyCheckpointConfig

_MOST = 8
"""Faults of one checkpoint that are printed; a ruined one may have hundreds."""


def verify_checkpoints(config: VerifyCheckpointConfig) -> int:
    """Print one line per checkpoint with its faults below; return 1 if there are any, else 0."""
    code = 0
    for folder in _chosen(config.folder):
        faults = list(islice(find_checkpoint_faults(folder), _MOST + 1))
        print(format_report(folder, faults), flush=True)
        if faults:
            code = 1
    return code


def _chosen(given: Path) -> list[Path]:
    if not given.is_dir():
        raise UserError(f"{given} is not a folder; give a checkpoint or a run")
    if found := [folder for _, folder in files.list_checkpoints(given)]:
        return found
    known = (files.MANIFEST, files.STATE)
    if files.parse_step(given) is None and not any((given / name).exists() for name in known):
        raise UserError(
            f"{given} is not a checkpoint and has no checkpoints in it; give RUN/checkpoint-123 or "
            "RUN"
        )
    return [given]


def find_checkpoint_faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong with a checkpoint; check its tensors only if the files are complete."""
    wrong = files.find_faults(folder, content=True)
    yield from wrong
    if wrong:
        return
    state = _state(folder)
    step = files.parse_step(folder)
    progress = state.get("progress", {})
    if step is not None and progress.get("step") != step:
        yield f"{folder / files.STATE} is of step {progress.get('step')}, but its folder of {step}"
    if not re.fullmatch("[0-9a-f]{64}", str(progress.get("chain", chain.START))):
        yield f"{folder / files.STATE} has no valid hash chain of the rows"
    for name in sorted(files.find_unlisted(folder)):
        yield f"{folder / name} is not listed in {files.MANIFEST} and is never read; delete it"
    try:
        shapes = shapes_in(folder)
    except (OSError, ValueError) as error:
        yield f"{folder / 'config.json'} does not describe a model: {error}"
        return
    yield from find_tensor_faults(
        folder, shapes, optimizer=state.get("optimizer", "adamw"), values=True
    )


def format_report(folder: Path, faults: list[str]) -> str:
    """Return a line about a checkpoint, and below it one for each fault."""
    state = _state(folder)
    progress = state.get("progress", {})
    ranks = state.get("ranks")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    parts = (
        f"step {progress.get('step', '?')}",
        "? ranks" if ranks is None else plural(ranks, "rank"),
        f"ZeRO {state.get('zero_stage', '?')}",
        memory(size),
        f"chain {str(progress.get('chain', '?'))[:12]}",
        _verdict(len(faults)),
    )
    lines = [f"{folder}: " + " | ".join(parts), *(f"  {fault}" for fault in faults[:_MOST])]
    return "\n".join(lines + ["  and more"] * (len(faults) > _MOST))


def _verdict(faults: int) -> str:
    if not faults:
        return "complete"
    return "1 fault" if faults == 1 else f"{faults if faults <= _MOST else 'many'} faults"


def _state(folder: Path) -> dict[str, Any]:
    try:
        state = files.read_state(folder)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
