"""Read a DeepSpeed JSON and combine it with our config, so that no number is set in two places.

Our config owns batch, accumulation, clipping, precision, optimizer and schedule: in the JSON they
are absent, "auto" or equal. The JSON owns ZeRO, offload, buckets and communication.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2zh.config.batch import count_accumulation_steps
from gpt2zh.config.deepspeed_checks import TYPES, find_faults, find_wrong_sections, is_offloaded
from gpt2zh.config.deepspeed_checks import Offload as Offload
from gpt2zh.config.deepspeed_names import AUTO, leave_out, translate
from gpt2zh.config.deepspeed_owned import fill_in, list_owned
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
    filled, faults = draft(raw, train, optimizer, ranks)
    raise_all(faults, "the DeepSpeed JSON and the config do not fit together")
    return filled


def draft(
    raw: dict[str, Any], train: TrainConfig, optimizer: OptimizerConfig, ranks: int
) -> tuple[dict[str, Any], list[str]]:
    """Return what `resolve` returns, faults or not, and all faults."""
    faults: list[str] = []
    raw = translate(_without(raw, None), faults)  # JSON's null is "not given"
    faults += find_wrong_sections(raw)
    faults += find_faults(raw, train, optimizer)
    filled = leave_out(raw)
    filled.pop("scheduler", None)
    filled.pop("optimizer", None)
    accumulation = attempt(lambda: count_accumulation_steps(train, ranks), faults)
    faults += fill_in(filled, list_owned(train, optimizer, accumulation=accumulation))
    if train.precision != "fp16":
        filled["fp16"] = {"enabled": False}  # its other numbers would have no effect
    filled = _without(filled, AUTO)  # an "auto" that is left means DeepSpeed's own default
    if train.precision != "fp32" and zero_stage(filled) in (1, 2, 3):
        # Half-precision sums of many micro-batches lose small gradients (DeepSpeed issue 1800).
        filled.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")
    return filled, faults


def zero_stage(resolved: Mapping[str, Any]) -> int:
    """Return the ZeRO stage of a DeepSpeed dict; 0 if it has none."""
    stage = resolved.get("zero_optimization", {}).get("stage", 0)
    return int(stage) if isinstance(stage, (int, float)) else 0  # else a check reports it


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


def _without(table: dict[str, Any], unwanted: Any) -> dict[str, Any]:
    """Return the table without the keys that have this value, at any depth."""
    return {
        key: _without(value, unwanted) if isinstance(value, dict) else value
        for key, value in table.items()
        if value != unwanted
    }
