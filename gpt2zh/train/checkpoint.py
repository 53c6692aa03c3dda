"""Checkpoints: one folder that is a Hugging Face model and the whole state of the run at once.

    config.json generation_config.json model.safetensors tokenizer.json ...   the model, fp32
    optimizer-00000-of-00002.safetensors ...    AdamW's moments by parameter name
    rng.safetensors                             random numbers of every rank
    trainer_state.json config.yaml deepspeed.json identity.json ... manifest.json

Nothing depends on the ZeRO stage or the number of ranks (see `masters`).
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from gpt2zh.dist.collectives import Control
from gpt2zh.dist.world import World
from gpt2zh.text.tokenizer import TextTokenizer
from gpt2zh.train import folder as files
from gpt2zh.train import masters
from gpt2zh.train.engine import hidden_model
from gpt2zh.train.state import TrainState

WEIGHTS = "model.safetensors"
RNG = "rng.safetensors"


@dataclass(frozen=True)
class RunFacts:
    """What every checkpoint of a run carries besides its state."""

    tokenizer: TextTokenizer
    texts: dict[str, str]
    """Small text files by name: the resolved config, the DeepSpeed dict, the run's identity."""


def save(
    engine: Any, state: TrainState, run: Path, *, facts: RunFacts, world: World, control: Control
) -> Path:
    """Write `run/checkpoint-<step>`; all ranks together, each its share of the moments.

    Returns:
        The folder, complete.

    Raises:
        OSError: Writing failed on some rank; on every rank, with nothing left behind.
    """
    temporary = files.writing_path(run, state.step)
    final = files.checkpoint_path(run, state.step)
    try:
        _attempt(control, lambda: files.begin(run, state.step) if world.is_main else None)
        entries = _write(engine, state, temporary, facts=facts, world=world, control=control)
        _attempt(
            control, lambda: files.commit(temporary, final, entries) if world.is_main else None
        )
    except OSError:
        if world.is_main:
            files.discard(temporary)  # a full disk needs the room
        raise
    return final


def _write(
    engine: Any,
    state: TrainState,
    temporary: Path,
    *,
    facts: RunFacts,
    world: World,
    control: Control,
) -> dict[str, dict[str, Any]]:
    """Write all files but the manifest and return its entries for them."""
    weights, moments = _my_share(engine, world)
    random = control.gather(_random_state())

    def write() -> dict[str, dict[str, Any]]:
        name = f"optimizer-{world.rank:05d}-of-{world.size:05d}.safetensors"
        _write_tensors(moments, temporary / name)
        written = [temporary / name]
        if world.is_main:
            _write_tensors(weights, temporary / WEIGHTS)
            _write_tensors(_by_rank(random), temporary / RNG)
            _write_model_folder(engine, temporary, facts)
            described = _describe_state(engine, state, world)
            (temporary / files.STATE).write_text(json.dumps(described, indent=1), "utf-8")
            # Not the other ranks' files, which may still be growing under names with a dot.
            written += [
                p for p in temporary.iterdir() if not p.name.startswith((".", "optimizer-"))
            ]
        return files.describe(written)

    written_by_rank = control.gather(_attempt(control, write))
    return {name: entry for part in written_by_rank for name, entry in part.items()}


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Set a new model's fp32 weights, before the engine is built around it."""
    missing, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    tied = {"lm_head.weight"}
    assert not unexpected and set(missing) <= tied, (missing, unexpected)


def load_training(engine: Any, folder: Path, world: World) -> TrainState:
    """Set moments, fp32 weights, loss scale and random numbers, and return the progress."""
    described = files.read_state(folder)
    stores = [
        safe_open(path, "pt")
        for path in (folder / WEIGHTS, *sorted(folder.glob("optimizer-*.safetensors")))
    ]
    home = {key: store for store in stores for key in store.keys()}  # noqa: SIM118

    def read(kind: str, name: str) -> torch.Tensor:
        key = name if kind == "weight" else f"{kind}.{name}"
        return home[key].get_tensor(key)

    masters.restore(engine, read, described["updates"])
    _set_loss_scale(engine, described["loss_scale"])
    _set_random_state(load_file(folder / RNG), world)
    return TrainState(**described["progress"])


def _attempt(control: Control, act: Any) -> Any:
    """Run `act` on this rank; if it failed anywhere, raise OSError everywhere."""
    result, error = None, None
    try:
        result = act()
    except (OSError, SafetensorError) as caught:  # the latter for a full disk, too
        error = caught
    messages = [message for message in control.gather(str(error) if error else None) if message]
    if messages:
        raise OSError(messages[0]) from error
    return result


def _write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o666 & ~_umask())  # safetensors writes files that nobody else can read


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _my_share(engine: Any, world: World) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Copies in host memory: all weights on rank 0, this rank's share of the moments."""
    weights: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}
    loads = [0] * world.size
    sizes = sum(_numel(p) for p in hidden_model(engine).parameters())
    loads[0] = sizes  # rank 0 writes the weights already
    for master in masters.collect(engine):
        owner = loads.index(min(loads))
        loads[owner] += 2 * master.weight.numel()
        if world.is_main:
            weights[master.name] = _host_copy(master.weight)
        if owner == world.rank:
            moments |= {f"{k}.{master.name}": _host_copy(v) for k, v in master.moments.items()}
    return weights, moments


def _numel(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _host_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _write_model_folder(engine: Any, folder: Path, facts: RunFacts) -> None:
    model = hidden_model(engine)
    config = copy.deepcopy(model.config)
    config.pad_token_id = facts.tokenizer.pad_id
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    facts.tokenizer.save(folder)
    for name, text in facts.texts.items():
        (folder / name).write_text(text, "utf-8")


def _describe_state(engine: Any, state: TrainState, world: World) -> dict[str, Any]:
    return {
        "format": 1,
        "progress": asdict(state),
        "updates": masters.updates_made(engine),
        "loss_scale": _loss_scale(engine),
        "ranks": world.size,
        "zero_stage": engine.zero_optimization_stage(),
    }


_SCALER_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def _scaler(engine: Any) -> Any:
    """Where DeepSpeed keeps the dynamic loss scale: by stage in one of two places."""
    optimizer = engine.optimizer
    return getattr(optimizer, "loss_scaler", None) or getattr(optimizer, "loss_scale_config", None)


def _loss_scale(engine: Any) -> dict[str, float]:
    scaler = _scaler(engine) if engine.fp16_enabled() else None
    return {f: getattr(scaler, f) for f in _SCALER_FIELDS if hasattr(scaler, f)}


def _set_loss_scale(engine: Any, values: dict[str, float]) -> None:
    if engine.fp16_enabled():
        for field, value in values.items():
            if hasattr(_scaler(engine), field):
                setattr(_scaler(engine), field, value)


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _by_rank(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {f"{device}.{r}": t for r, state in enumerate(states) for device, t in state.items()}


def _set_random_state(saved: dict[str, torch.Tensor], world: World) -> None:
    """Continue this rank's random numbers; a rank that did not exist then keeps its fresh ones."""
    if f"cpu.{world.rank}" in saved:
        torch.set_rng_state(saved[f"cpu.{world.rank}"])
    if torch.cuda.is_available() and f"cuda.{world.rank}" in saved:
        torch.cuda.set_rng_state(saved[f"cuda.{world.rank}"])
