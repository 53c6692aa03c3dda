"""What a config leaves open: the ZeRO stage and the micro-batch that fit a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpt2zh.config import deepspeed, profiles
from gpt2zh.config.batch import list_micro_batches
from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import OptimizerConfig, TrainConfig, TrainingConfig
from gpt2zh.cost.memory import largest_micro_batch
from gpt2zh.cost.setting import Setting
from gpt2zh.ranks.device import Device

MOST_TOKENS = 131_072
"""Tokens of a micro-batch beyond which no GPU gets faster."""
MOST_ROWS_ON_CPU = 8
"""A CPU is busy with fewer."""
ASSUMED = Device("a GPU of 24 GB", 24 * 2**30, is_gpu=True)
"""Where nobody knows the device."""


@dataclass(frozen=True)
class Fit:
    """What a run takes, with nothing left open."""

    config: TrainingConfig
    """With a number as its micro-batch."""
    raw: dict[str, Any]
    """The DeepSpeed JSON."""
    warning: str | None = None
    """What was asked and does not fit by estimate."""


def provisional(train: TrainConfig) -> TrainConfig:
    """The same with a micro-batch that is a number, for what does not depend on it."""
    return dataclasses.replace(train, micro_batch=1) if train.micro_batch == "auto" else train


def accepted(
    raws: Iterable[dict[str, Any]], train: TrainConfig, optimizer: OptimizerConfig, ranks: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Those of some DeepSpeed JSONs that go with a config, each with the dict that it makes.

    Args:
        raws: In the order in which they come back.
        train: With a number as its micro-batch.
        optimizer: What else decides.
        ranks: Processes.
    """
    for raw in raws:
        try:
            resolved = deepspeed.resolve(raw, train, optimizer, ranks)
        except UserError:  # such as Muon at stage 3
            continue
        yield raw, resolved


def file_of(raw: dict[str, Any]) -> str:
    """The file that holds one of the DeepSpeed JSONs that come with the project."""
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
    """Fill in what is open, by estimate; the trial before the first step has the last word.

    A micro-batch that is given stays, even where it fits no stage.

    Args:
        config: Checked.
        raw: The DeepSpeed JSON; None chooses one.
        vocabulary: Rows of the embedding, padded.
        ranks: Processes.
        device: Tells what each of them computes on; only asked where something is open. None
            assumes a GPU of 24 GB.
    """
    asked = config.train.micro_batch
    if raw is not None and asked != "auto":
        return Fit(config, raw)
    found = ASSUMED if device is None else device()
    train, optimizer = provisional(config.train), config.optimizer
    if raw is None:
        options = accepted(profiles.candidates(ranks), train, optimizer, ranks)
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
        warning = _too_large(asked, found, rows, file_of(option) if raw is None else None)
    return Fit(config, option, warning)


def _too_large(asked: int | str, device: Device, rows: int, file: str | None) -> str:
    """What to tell about a micro-batch that does not fit.

    Args:
        asked: `train.micro_batch`.
        device: What it does not fit.
        rows: As many as fit.
        file: The DeepSpeed JSON that was chosen; None if the user gave one.
    """
    where = f"{device.name} ({device.memory / 2**30:.1f} GiB)"
    if rows == 0:
        how = "this DeepSpeed JSON" if file is None else "any JSON of ds_configs/"
        return (
            f"by estimate not even one row fits {where} with {how}; `gpt2zh estimate` tells what "
            "would"
        )
    return (
        f"by estimate train.micro_batch {asked} does not fit {where}, but {rows} would with "
        f"{file}, which is taken; what does not fit is halved before the first step"
    )


def setting_of(
    config: TrainingConfig, resolved: Mapping[str, Any], *, ranks: int, on_gpu: bool
) -> Setting:
    """What the costs of a rank depend on.

    Args:
        config: How the model is trained.
        resolved: The dict for DeepSpeed.
        ranks: Processes.
        on_gpu: Whether they compute on GPUs.
    """
    train = config.train
    return Setting(
        resolved=resolved,
        ranks=ranks,
        recompute=train.activation_checkpointing,
        compile=train.compile,
        on_gpu=on_gpu,
        optimizer=config.optimizer.kind,
        document_mask=train.document_mask,
    )
