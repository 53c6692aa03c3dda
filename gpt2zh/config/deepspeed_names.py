"""Keys of a DeepSpeed JSON that this project does not use, or knows under a newer name.

JSON files are passed from project to project. What does no harm in them is taken: old names are
translated, and keys without effect here are left out and named in the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

AUTO = "auto"
"""Value of the JSON for: our config's, or DeepSpeed's default."""

# The numbers of zero_optimization; all are integers (zero/config.py).
INTEGERS = (
    *("reduce_bucket_size", "allgather_bucket_size", "sub_group_size", "zero_hpz_partition_size"),
    *("stage3_prefetch_bucket_size", "stage3_module_granularity_threshold"),
    *("stage3_param_persistence_threshold", "stage3_model_persistence_threshold"),
    *("stage3_max_live_parameters", "stage3_max_reuse_distance"),
)
OTHER_NAMES = {
    **{key.removeprefix("stage3_"): key for key in INTEGERS if key.startswith("stage3_")},
    "stage3_gather_fp16_weights_on_model_save": "stage3_gather_16bit_weights_on_model_save",
    "gather_16bit_weights_on_model_save": "stage3_gather_16bit_weights_on_model_save",
}
"""Other names of keys of zero_optimization, with those by which they are read here."""
OLD_SWITCHES = {
    "cpu_offload": "offload_optimizer",
    "cpu_offload_param": "offload_param",
    "cpu_offload_params": "offload_param",
}
"""Old true or false of zero_optimization, with the sections that replaced them."""
OLD_PINNING = "cpu_offload_use_pin_memory"

_QUIET = (
    "steps_per_print zero_allow_untested_optimizer zero_force_ds_cpu_optimizer "
    "wall_clock_breakdown dataloader_drop_last dump_state memory_breakdown"
)
HARMLESS = frozenset(_QUIET.split())
"""Keys that change nothing but what DeepSpeed prints or which optimizers it takes."""
_OWN_LOGS = "RUN/tensorboard and RUN/metrics.jsonl are always written"
UNUSED = {
    "activation_checkpointing": "train.activation_checkpointing owns it",
    "aio": "nothing is offloaded to NVMe",
    "autotuning": "`gpt2zh plan` shows what fits",
    "checkpoint": "checkpoints are our own",
    "comet": _OWN_LOGS,
    "comms_config": "DeepSpeed reads comms_logger",
    "csv_monitor": _OWN_LOGS,
    "data_efficiency": "the order of the rows is our own",
    "datastates_ckpt": "checkpoints are our own",
    "fp8": "train.precision is fp32, bf16 or fp16",
    "hybrid_engine": "it is for RLHF",
    "monitor_config": _OWN_LOGS,
    "pipeline": "the model is not split into stages",
    "tensorboard": _OWN_LOGS,
    "wandb": _OWN_LOGS,
    "weight_quantization": "it is for inference",
    "zero_optimization.round_robin_gradients": "it would reorder the parameters in checkpoints",
}
"""Keys without effect here, with the reason."""


def find_unused(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of a JSON that have no effect here, each with the reason."""
    for name, why in UNUSED.items():
        value = _get(raw, name)
        enabled = value.get("enabled", True) if isinstance(value, Mapping) else value
        if enabled not in (None, False, AUTO):
            yield f"{name} ({why})"


def leave_out(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON without the keys that have no effect here."""
    left = {key: value for key, value in raw.items() if key not in {*HARMLESS, *UNUSED}}
    zero = left.get("zero_optimization")
    if isinstance(zero, dict):
        zero = {key: value for key, value in zero.items() if key != "round_robin_gradients"}
        left["zero_optimization"] = zero
    return left


def translate(raw: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return a copy of a JSON with the names by which it is read here.

    Args:
        raw: The JSON.
        faults: Gets a sentence for each old name whose new name is there with another value.
    """
    table = deepcopy(dict(raw))
    if isinstance(older := table.pop("bfloat16", None), dict):
        table["bf16"] = _merge("bfloat16", older, "bf16", table.get("bf16", {}), faults)
    elif older is not None:
        table.setdefault("bf16", older)  # not an object, which other checks report
    zero = table.get("zero_optimization")
    if not isinstance(zero, dict):
        return table
    for old, new in OTHER_NAMES.items():
        if old in zero:
            value = zero.pop(old)
            if zero.setdefault(new, value) != value:
                faults.append(_two_values(old, value, new, zero[new]))
    for old, new in OLD_SWITCHES.items():
        _replace_switch(zero, old, new, faults)
    pinned = zero.pop(OLD_PINNING, None)
    for section in ("offload_optimizer", "offload_param"):
        if pinned not in (None, AUTO) and isinstance(zero.get(section), dict):
            zero[section].setdefault("pin_memory", pinned)
    return table


def _replace_switch(zero: dict[str, Any], old: str, new: str, faults: list[str]) -> None:
    """Replace an old true or false by the section that has the same effect."""
    if old not in zero:
        return
    value = zero.pop(old)
    section = zero.get(new)
    device = section.get("device") if isinstance(section, dict) else section
    if value is True and section is None:
        zero[new] = {"device": "cpu"}
    elif isinstance(value, bool):
        if (device == "cpu") != value:
            faults.append(_two_values(old, value, new, section))
    elif value not in (None, AUTO):
        faults.append(
            f"zero_optimization.{old} is {value!r} in the JSON; it must be true or false, or write "
            f'"{new}": {{"device": "cpu"}} instead'
        )


def _merge(
    old: str, older: dict[str, Any], new: str, newer: Any, faults: list[str]
) -> dict[str, Any]:
    """Return two sections as one; the newer one wins, and differences are faults."""
    if not isinstance(newer, dict):
        return newer  # reported by other checks
    faults += [
        f"{old}.{key} is {older[key]!r} but {new}.{key} is {newer[key]!r} in the JSON; {old} is "
        f"the older name of {new}: remove it"
        for key in older
        if key in newer and newer[key] != older[key]
    ]
    return older | newer


def _two_values(old: str, value: Any, new: str, other: Any) -> str:
    return (
        f"zero_optimization.{old} is {value!r} but zero_optimization.{new} is {other!r} in the "
        f"JSON; {old} is an older name: remove it"
    )


def _get(raw: Mapping[str, Any], path: str) -> Any:
    value: Any = raw
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
