"""What our config owns of a DeepSpeed JSON, and which of our options takes another value.

In the JSON these numbers are absent, "auto" or equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpt2zh.config.deepspeed_names import AUTO
from gpt2zh.config.schema import OptimizerConfig, TrainConfig

_OPTIONS = {
    "train_batch_size": "train.global_batch",
    "train_micro_batch_size_per_gpu": "train.micro_batch",
    "gradient_clipping": "optimizer.max_grad_norm",
}
_SCHEDULES = {"WarmupLR": "constant", "WarmupDecayLR": "linear", "WarmupCosineLR": "cosine"}
"""DeepSpeed's schedulers, with the `optimizer.schedule` that is like each."""
_FIXED = {"warmup_min_lr": 0, "warmup_min_ratio": 0, "warmup_type": "linear"}
"""Numbers of a scheduler that are always so here: a warm-up begins at 0 and is linear."""
_TYPES = {"adamw": ("adam", "adamw"), "muon": ("muon",)}


def list_owned(
    train: TrainConfig, optimizer: OptimizerConfig, *, accumulation: int | None
) -> dict[str, Any]:
    """Return the values that our config gives to keys of the JSON, by path.

    Args:
        train: Owner of batch and precision.
        optimizer: Owner of clipping.
        accumulation: Micro-batches per rank and step; None if the batch cannot be split.
    """
    steps = {} if accumulation is None else {"gradient_accumulation_steps": accumulation}
    return steps | {
        "train_batch_size": train.global_batch,
        "train_micro_batch_size_per_gpu": train.rows_at_once,
        "gradient_clipping": optimizer.max_grad_norm,
        "bf16.enabled": train.precision == "bf16",
        "fp16.enabled": train.precision == "fp16",
        # The engine gets torch's fused AdamW, which needs no compiler on any device. DeepSpeed
        # would build its own CPU Adam for it, and calls every other optimizer untested.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        # It is on by default, and waits for the GPU twice in every micro-batch (utils/timer.py,
        # ThroughputTimer).
        "timers.throughput.enabled": False,
        # DeepSpeed must not count micro-batches by itself: it takes the remainder over all steps,
        # so a step with fewer of them would end in the middle of the next one. train/engine.py
        # says after each micro-batch whether the weights are updated.
        "managed_gradient_accumulation": True,
    }


def fill_in(table: dict[str, Any], owned: Mapping[str, Any]) -> Iterator[str]:
    """Set the owned values in a JSON; yield a fault for each that is another one there."""
    for name, value in owned.items():
        *path, key = name.split(".")
        node = table
        for part in path:
            node = node.setdefault(part, {})
        given = node.get(key, AUTO)
        if given not in (AUTO, value) and name != "timers.throughput.enabled":
            yield _differs(name, given, value, _cure(name, given, owned))
        node[key] = value


def find_optimizer_faults(section: Mapping[str, Any], optimizer: OptimizerConfig) -> Iterable[str]:
    """Yield contradictions between the optimizer of the JSON and ours."""
    known = _TYPES[optimizer.kind]
    kind = str(section.get("type", known[0])).lower()
    if kind not in known:
        name = {"adamw": "AdamW", "muon": "Muon"}[optimizer.kind]
        other = next((ours for ours, theirs in _TYPES.items() if kind in theirs), None)
        cure = f"set --optimizer.kind {other} or " if other else ""
        yield (
            f"optimizer.type is {section['type']!r} in the JSON; the optimizer is {name} "
            f"(optimizer.kind); {cure}remove the section"
        )
    params = section.get("params", {})
    ours = {"lr": "lr", "eps": "eps", "weight_decay": "weight_decay"}
    yield from _compare_params("optimizer.params", params, _values(optimizer, ours))
    betas, mine = params.get("betas", AUTO), [optimizer.beta1, optimizer.beta2]
    if betas not in (AUTO, mine):
        is_pair = isinstance(betas, list) and len(betas) == 2
        cure = "remove the section"
        if is_pair:
            cure = f"set --optimizer.beta1 {betas[0]} --optimizer.beta2 {betas[1]}"
        yield _differs("optimizer.params.betas", betas, mine, cure)


def find_scheduler_faults(
    section: Mapping[str, Any], train: TrainConfig, optimizer: OptimizerConfig
) -> Iterable[str]:
    """Yield contradictions between the scheduler of the JSON and our schedule.

    A scheduler whose numbers are all "auto" is that of the config, whatever its type.
    """
    ours = {"warmup_num_steps": "warmup_steps", "warmup_max_lr": "lr"}
    expected = _values(optimizer, ours | {"cos_min_ratio": "final_lr_fraction"}) | {
        "total_num_steps": ("train.steps", train.steps),
        **{key: (None, value) for key, value in _FIXED.items()},
    }
    params = section.get("params", {"": ""})
    if not section or all(value in (AUTO, _FIXED.get(key, AUTO)) for key, value in params.items()):
        return
    given = section.get("type")
    schedule = _SCHEDULES.get(str(given))
    if schedule != optimizer.schedule:
        cure = f"set --optimizer.schedule {schedule}" if schedule else "remove the section"
        yield (
            f"scheduler.type is {given!r} in the JSON, but optimizer.schedule owns the schedule "
            f"and is {optimizer.schedule}; {cure}, or remove the section"
        )
    yield from _compare_params("scheduler.params", params, expected)


def _values(
    optimizer: OptimizerConfig, names: Mapping[str, str]
) -> dict[str, tuple[str | None, Any]]:
    """Return our option and its value, by the name that the JSON has for it."""
    return {
        theirs: (f"optimizer.{ours}", getattr(optimizer, ours)) for theirs, ours in names.items()
    }


def _compare_params(
    path: str, params: Mapping[str, Any], expected: Mapping[str, tuple[str | None, Any]]
) -> Iterable[str]:
    for key, (option, value) in expected.items():
        given = params.get(key, AUTO)
        if given not in (AUTO, value):
            cure = f"set --{option} {given}" if option else f"it is always {value!r} here"
            yield _differs(f"{path}.{key}", given, value, cure)


def _cure(name: str, given: Any, owned: Mapping[str, Any]) -> str:
    """Return which option gives a key of the JSON its value."""
    if name in _OPTIONS:
        return f"set --{_OPTIONS[name]} {given}"
    if name == "gradient_accumulation_steps":
        return (
            "it follows from train.global_batch, train.micro_batch and the number of ranks: "
            f"global_batch / (micro_batch x ranks), here {owned[name]}"
        )
    if name in ("bf16.enabled", "fp16.enabled"):
        half = name.partition(".")[0]
        return f"set --train.precision {half if given is True else 'fp32'}"
    return f"it is always {owned[name]!r} here"


def _differs(name: str, given: Any, ours: Any, cure: str) -> str:
    return (
        f"{name} is {given!r} in the JSON but {ours!r} in the config; {cure}, or remove it from "
        "the JSON or write auto"
    )
