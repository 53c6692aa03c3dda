"""Read a DeepSpeed JSON and combine it with our config, so that no number is set in two places.

Our config owns batch, accumulation, clipping, precision, optimizer and schedule: in the JSON they
are absent, "auto" or equal. The JSON owns ZeRO, offload, buckets and communication.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from gpt2zh.config.batch import count_accumulation_steps
from gpt2zh.config.deepspeed_checks import (
    AUTO,
    TYPES,
    find_faults,
    find_wrong_sections,
    is_offloaded,
)
from gpt2zh.config.deepspeed_checks import Offload as Offload
from gpt2zh.config.errors import UserError, attempt, raise_all
from gpt2zh.config.schema import OptimizerConfig, TrainConfig
from gpt2zh.config.tables import load_json


def read(path: Path) -> dict[str, Any]:
    """Read a DeepSpeed JSON.

    Raises:
        UserError: The file is missing, does not hold a JSON object, or has a key twice.
    """
    try:
        table = load_json(path, f"--deepspeed_config {path}")
    except OSError as error:
        raise UserError(f"--deepspeed_config {path}: {error.strerror}; see ds_configs/") from error
    if not isinstance(table, dict):
        raise UserError(
            f"--deepspeed_config {path} holds a {type(table).__name__}; it must be a JSON object, "
            "see ds_configs/"
        )
    return table


def resolve(
    raw: dict[str, Any], train: TrainConfig, optimizer: OptimizerConfig, ranks: int
) -> dict[str, Any]:
    """Fill a DeepSpeed JSON with the numbers that our config owns.

    Args:
        raw: The JSON as the user wrote it; "auto" means: ours, or DeepSpeed's default.
        train: Owner of batch and precision.
        optimizer: Owner of clipping, learning rate and AdamW's numbers.
        ranks: Processes of the run.

    Returns:
        The dict for `deepspeed.initialize`.

    Raises:
        UserError: Every fault and every contradiction between the two, in one message.
    """
    raw = _without(raw, None)  # JSON's null is "not given"
    raise_all(list(find_wrong_sections(raw)), "the DeepSpeed JSON")
    faults = list(find_faults(raw, train, optimizer))
    filled = deepcopy(raw)
    filled.pop("scheduler", None)
    filled.pop("optimizer", None)
    if "bfloat16" in filled:  # DeepSpeed's older name of it
        filled["bf16"] = filled.pop("bfloat16") | filled.get("bf16", {})
    owned = attempt(lambda: _owned(train, optimizer, ranks), faults) or {}
    for name, value in owned.items():
        *path, key = name.split(".")
        node = filled
        for part in path:
            node = node.setdefault(part, {})
        if node.get(key, AUTO) not in (AUTO, value):
            faults.append(
                f"{name} is {node[key]!r} in the JSON but {value!r} in the config; "
                "remove it from the JSON or write auto"
            )
        node[key] = value
    raise_all(faults, "the DeepSpeed JSON and the config do not fit together")
    filled = _without(filled, AUTO)  # an "auto" that is left means DeepSpeed's own default
    if train.precision != "fp32" and zero_stage(filled) > 0:
        # Half-precision sums of many micro-batches lose small gradients (DeepSpeed issue 1800).
        filled.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")
    return filled


def zero_stage(resolved: Mapping[str, Any]) -> int:
    """Return the ZeRO stage of a DeepSpeed dict; 0 if it has none."""
    return int(resolved.get("zero_optimization", {}).get("stage", 0))


def precision(resolved: Mapping[str, Any]) -> str:
    """Return the `train.precision` of a resolved dict."""
    return next((name for name in ("bf16", "fp16") if resolved[name]["enabled"]), "fp32")


def sum_type(resolved: Mapping[str, Any]) -> str:
    """Return the type in which micro-batches add up gradients: fp32, bf16 or fp16."""
    types = resolved.get("data_types", {})
    return TYPES[types.get("grad_accum_dtype", precision(resolved))]


def has_bf16_optimizer(resolved: Mapping[str, Any]) -> bool:
    """Return whether DeepSpeed uses BF16_Optimizer (engine.py, _do_optimizer_sanity_check)."""
    return (
        zero_stage(resolved) == 1
        and (precision(resolved), sum_type(resolved)) == ("bf16", "fp32")
        and not is_offloaded(resolved, "optimizer")
    )


def _owned(train: TrainConfig, optimizer: OptimizerConfig, ranks: int) -> dict[str, Any]:
    return {
        "gradient_accumulation_steps": count_accumulation_steps(train, ranks),
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


def _without(table: dict[str, Any], unwanted: Any) -> dict[str, Any]:
    """Return the table without the keys that have this value, at any depth."""
    return {
        key: _without(value, unwanted) if isinstance(value, dict) else value
        for key, value in table.items()
        if value != unwanted
    }
