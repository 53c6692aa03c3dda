"""What a config leaves open: the ZeRO stage and the micro-batch that fit a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.batch import list_micro_batches
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig, TrainingConfig
from gpt2zh.cost.memory import largest_micro_batch
from gpt2zh.plan.setup import setting_of
from gpt2zh.ranks.device import Device

MOST_TOKENS = 131_072
"""Largest micro-batch in tokens that `auto` takes: no GPU gets faster with more."""
MOST_ROWS_ON_CPU = 8
"""Largest micro-batch that `auto` takes on a CPU, which is busy with fewer rows."""
ASSUMED = Device("a GPU of 24 GB", 24 * 2**30, is_gpu=True)
"""The device of a plan that is made where nobody can ask for the real one."""


@dataclass(frozen=True)
class Fit:
    """A config with nothing left open, and the DeepSpeed JSON for it."""

    config: TrainingConfig
    """With a number as its micro-batch."""
    raw: dict[str, Any]
    """The DeepSpeed JSON."""
    warning: str | None = None
    """Says what was asked for and does not fit by estimate."""


def with_any_micro_batch(train: TrainConfig) -> TrainConfig:
    """Return the config with a number as its micro-batch, for what does not depend on it."""
    return dataclasses.replace(train, micro_batch=1) if train.micro_batch == "auto" else train


def resolve_all(
    raws: Iterable[dict[str, Any]], train: TrainConfig, optimizer: OptimizerConfig, ranks: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the DeepSpeed JSONs that can be used with a config, each with its resolved dict.

    Args:
        raws: DeepSpeed JSONs; the order is kept.
        train: With a number as its micro-batch.
        optimizer: Muon, for example, cannot be used at stage 3.
        ranks: Processes.
    """
    for raw in raws:
        try:
            resolved = deepspeed.resolve(raw, train, optimizer, ranks)
        except UserError:  # nobody asked for this JSON, so it is not an error
            continue
        yield raw, resolved


def name_file(raw: dict[str, Any]) -> str:
    """Return the file that holds one of the DeepSpeed JSONs of `config.profiles`."""
    away = "_offload" if deepspeed.is_offloaded(raw, "optimizer") else ""
    return f"ds_configs/zero{deepspeed.zero_stage(raw)}{away}.json"


def choose(
    config: TrainingConfig,
    raw: dict[str, Any] | None,
    *,
    vocabulary: int,
    ranks: int,
    device: Callable[[], Device] | None,
) -> Fit:
    """Choose what a config leaves open, by estimate; the trial before the first step decides.

    A micro-batch that is given stays, even if it fits at no ZeRO stage.

    Args:
        config: Checked.
        raw: The DeepSpeed JSON; None chooses one.
        vocabulary: Rows of the embedding, padded.
        ranks: Processes.
        device: Returns what each rank computes on; only called if something is open. None assumes a
            GPU of 24 GB.
    """
    asked = config.train.micro_batch
    if raw is not None and asked != "auto":
        return Fit(config, raw)
    found = ASSUMED if device is None else device()
    train, optimizer = with_any_micro_batch(config.train), config.optimizer
    if raw is None:
        options = resolve_all(profiles.candidates(ranks), train, optimizer, ranks)
    else:
        options = iter([(raw, deepspeed.resolve(raw, train, optimizer, ranks))])
    most = MOST_TOKENS // config.model.context if found.is_gpu else MOST_ROWS_ON_CPU
    wanted = max(1, min(most, train.global_batch // ranks)) if asked == "auto" else asked
    enough = 1 if asked == "auto" else asked
    tried: list[tuple[int, dict[str, Any]]] = []
    for option, resolved in options:
        setting = setting_of(config, resolved, ranks=ranks, on_gpu=found.is_gpu)
        rows = largest_micro_batch(
            config.model, vocabulary, setting, device_bytes=found.memory, most=wanted
        )
        tried.append((rows, option))
        if rows >= enough:
            break
    fitting = [one for least in (enough, 1) for one in tried if one[0] >= least]
    rows, option = fitting[0] if fitting else tried[-1]
    if asked == "auto":
        taken = list_micro_batches(train, ranks, most=max(rows, 1))[-1]
        config = dataclasses.replace(config, train=dataclasses.replace(train, micro_batch=taken))
    warning = None
    if rows < enough:
        warning = _too_large(asked, found, rows, name_file(option) if raw is None else None)
    return Fit(config, option, warning)


def _too_large(asked: int | str, device: Device, rows: int, file: str | None) -> str:
    """Return the warning about a micro-batch that does not fit.

    Args:
        asked: `train.micro_batch`.
        device: The device that it does not fit.
        rows: Rows that fit.
        file: The DeepSpeed JSON that was chosen; None if the user gave one.
    """
    where = f"{device.name} ({device.memory / 2**30:.1f} GiB)"
    if rows == 0:
        how = "this DeepSpeed JSON" if file is None else "any JSON of ds_configs/"
        return (
            f"by estimate not even one row fits {where} with {how}; "
            "`gpt2zh plan --gpu CARD --ranks N` shows what fits"
        )
    return (
        f"by estimate train.micro_batch {asked} does not fit {where}, but {rows} would with "
        f"{file}, which the run takes; if the first micro-batch does not fit, it is halved"
    )
