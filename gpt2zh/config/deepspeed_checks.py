"""Faults of a DeepSpeed JSON that are found before DeepSpeed reads it.

DeepSpeed finds its own faults late, after the model is built, and ignores some without a word. Here
all are found at once, with what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from gpt2zh.config.schema import OptimizerConfig, TrainConfig

AUTO = "auto"
"""Value of the JSON for: our config's, or DeepSpeed's default."""
Offload = Literal["optimizer", "param"]

# The keys that DeepSpeed reads at the top level. It ignores a misspelt one without a word.
_NAMES = (
    "activation_checkpointing aio amp bf16 bfloat16 comms_logger communication_data_type "
    "compression_training csv_monitor data_types dataloader_drop_last dump_state flops_profiler "
    "fp16 gradient_accumulation_steps gradient_clipping gradient_predivide_factor memory_breakdown "
    "optimizer prescale_gradients scheduler sparse_gradients steps_per_print tensorboard timers "
    "torch_autocast train_batch_size train_micro_batch_size_per_gpu wall_clock_breakdown "
    "zero_allow_untested_optimizer zero_force_ds_cpu_optimizer zero_optimization"
)
_TOP_LEVEL = frozenset(_NAMES.split())
# With these, our checkpoints and losses would not be exact.
_REFUSED = {
    "amp": "use train.precision",
    "torch_autocast": "use train.precision",
    "compression_training": "it changes the model",
    "gradient_predivide_factor": "it changes the sum of the gradients",
    "prescale_gradients": "it changes the sum of the gradients",
    "sparse_gradients": "the tied embedding has dense gradients",
    "tensorboard": "RUN/tensorboard is always written",
}
# The sections that are read here.
_TABLES = (
    *("zero_optimization", "bf16", "bfloat16", "fp16", "data_types", "timers"),
    *("zero_optimization.offload_optimizer", "zero_optimization.offload_param"),
    *("timers.throughput", "optimizer", "optimizer.params", "scheduler", "scheduler.params"),
)
# The numbers of zero_optimization; all are integers (zero/config.py).
_INTEGERS = (
    *("reduce_bucket_size", "allgather_bucket_size", "sub_group_size", "zero_hpz_partition_size"),
    *("stage3_prefetch_bucket_size", "stage3_module_granularity_threshold"),
    *("stage3_param_persistence_threshold", "stage3_model_persistence_threshold"),
    *("stage3_max_live_parameters", "stage3_max_reuse_distance"),
)
# Other names that DeepSpeed accepts there; ours are read under one name only.
_OTHER_NAMES = {
    "cpu_offload": "offload_optimizer",
    "cpu_offload_param": "offload_param",
    **{key.removeprefix("stage3_"): key for key in _INTEGERS if key.startswith("stage3_")},
}
TYPES = {
    **dict.fromkeys(("fp32", "float32", "float", "torch.float32"), "fp32"),
    **dict.fromkeys(("fp16", "float16", "half", "torch.float16"), "fp16"),
    **dict.fromkeys(("bf16", "bfloat16", "torch.bfloat16"), "bf16"),
}
"""DeepSpeed's names of the types that gradients are summed in (runtime/config.py, DtypeEnum)."""


def is_offloaded(table: Mapping[str, Any], name: Offload) -> bool:
    """Return whether a DeepSpeed dict, raw or resolved, keeps optimizer or weights on the host."""
    zero = table.get("zero_optimization") or {}
    return (zero.get(f"offload_{name}") or {}).get("device") not in (None, AUTO, "none")


def find_wrong_sections(raw: dict[str, Any]) -> Iterable[str]:
    """Yield a fault for each section that is not a JSON object; the other checks need objects."""
    for path in _TABLES:
        *outer, name = path.split(".")
        table: Any = raw
        for part in outer:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        value = table.get(name) if isinstance(table, dict) else None
        if value is not None and not isinstance(value, dict):
            example = '{"enabled": true}' if "f16" in name or "float" in name else "{...}"
            yield f'{path} is {value!r} in the JSON; it must be an object: "{name}": {example}'


def find_faults(
    raw: dict[str, Any], train: TrainConfig, optimizer: OptimizerConfig
) -> Iterable[str]:
    """Yield everything that is wrong with a JSON, also in relation to our config.

    Args:
        raw: The JSON without nulls and wrong sections.
        train: Owner of precision and torch.compile.
        optimizer: Owner of the optimizer and its numbers.
    """
    yield from _misspelt(raw)
    yield from _refused(raw)
    yield from _zero_faults(raw)
    yield from _type_faults(raw, train)
    if train.compile == "always" and raw.get("zero_optimization", {}).get("stage") == 3:
        yield (
            "train.compile is always, but with zero_optimization.stage 3 the model cannot be one "
            "graph, since weights are gathered inside it; use train.compile auto or a lower stage"
        )
    yield from _muon_faults(raw, optimizer)
    yield from _optimizer_faults(raw.get("optimizer", {}), optimizer)
    scheduler = raw.get("scheduler")
    if scheduler and any(value != AUTO for value in scheduler.get("params", {"": ""}).values()):
        yield "the JSON has a scheduler; remove it: optimizer.schedule owns the schedule"


def _misspelt(raw: dict[str, Any]) -> Iterable[str]:
    for key in raw:
        close = difflib.get_close_matches(key, _TOP_LEVEL, n=1, cutoff=0.8)
        if close and close[0] != key and key not in _TOP_LEVEL:
            yield f"unknown key {key} in the JSON; did you mean {close[0]}?"


def _refused(raw: dict[str, Any]) -> Iterable[str]:
    for key, why in _REFUSED.items():
        value = raw.get(key)
        enabled = value.get("enabled", False) if isinstance(value, dict) else value
        if enabled and enabled != AUTO and (key, enabled) != ("gradient_predivide_factor", 1.0):
            yield f"{key} is not supported: {why}; remove it from the JSON"


def _zero_faults(raw: dict[str, Any]) -> Iterable[str]:
    zero = raw.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    if stage not in (0, 1, 2, 3) or isinstance(stage, bool):
        yield f"zero_optimization.stage is {stage!r}; it must be 0, 1, 2 or 3"
        return
    if zero.get("round_robin_gradients", AUTO) not in (AUTO, False):
        # It also reorders the list from which the parameters of a checkpoint get their names.
        yield (
            "zero_optimization.round_robin_gradients is not supported: it reorders the parameters, "
            "and checkpoints would hold them under wrong names; remove it"
        )
    least: dict[Offload, int] = {"optimizer": 1, "param": 3}
    for name in least:
        if not is_offloaded(raw, name):
            continue
        where, device = f"zero_optimization.offload_{name}", zero[f"offload_{name}"]["device"]
        if stage < least[name]:
            yield f"{where} needs stage {least[name]} or more, the JSON has {stage}"
        if device != "cpu":
            yield f"{where}.device is {device!r}; it must be cpu or none"
    for key, value in zero.items():
        if key in _OTHER_NAMES:
            yield f"zero_optimization.{key}: write zero_optimization.{_OTHER_NAMES[key]} instead"
        elif isinstance(value, str) and value != AUTO:
            yield (
                f"zero_optimization.{key} is the text {value!r}; it must be a number, true or "
                "false; remove the quotes"
            )
        elif key in _INTEGERS and value != AUTO and not _is_count(value):
            yield f"zero_optimization.{key} is {value!r}; it must be an integer, 0 or more"


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value >= 0 and value % 1 == 0  # 5e8 is one, as JSON files write it


def _type_faults(raw: dict[str, Any], train: TrainConfig) -> Iterable[str]:
    """Yield types that DeepSpeed does not know, lacks at stage 0, or that would lose gradients."""
    sent, usual = raw.get("communication_data_type", AUTO), ("fp32", "fp16", "bf16")
    if sent not in (AUTO, *usual):
        yield f"communication_data_type is {sent!r}; use {', '.join(usual)} or remove it"
    dtype = raw.get("data_types", {}).get("grad_accum_dtype", AUTO)
    stage = raw.get("zero_optimization", {}).get("stage", 0)
    if dtype == AUTO:
        return
    if not isinstance(dtype, str) or TYPES.get(dtype) not in ("fp32", train.precision):
        yield (
            f"data_types.grad_accum_dtype is {dtype!r}; gradients are summed in fp32 or in "
            f"train.precision, {train.precision}; write one of these or remove it"
        )
    elif stage == 0 and TYPES[dtype] != train.precision:
        yield (
            f"data_types.grad_accum_dtype {dtype!r} needs zero_optimization.stage 1 or more when "
            f"train.precision is {train.precision}; remove it or use ds_configs/zero1.json"
        )


def _muon_faults(raw: dict[str, Any], optimizer: OptimizerConfig) -> Iterable[str]:
    """Yield ZeRO settings without whole matrices for Muon, or with matrices on the CPU."""
    zero = raw.get("zero_optimization", {})
    if optimizer.kind != "muon":
        return
    if zero.get("stage", 0) == 3:
        yield (
            "optimizer.kind muon needs zero_optimization.stage 0, 1 or 2, the JSON has 3, which "
            "splits every matrix over all ranks; use ds_configs/zero2.json or optimizer.kind adamw"
        )
    if is_offloaded(raw, "optimizer"):
        yield (
            "optimizer.kind muon multiplies matrices, which is too slow on a CPU; remove "
            "zero_optimization.offload_optimizer or use optimizer.kind adamw"
        )


def _optimizer_faults(section: dict[str, Any], optimizer: OptimizerConfig) -> Iterable[str]:
    known = {"adamw": ("adam", "adamw"), "muon": ("muon",)}[optimizer.kind]
    if str(section.get("type", known[0])).lower() not in known:
        name = {"adamw": "AdamW", "muon": "Muon"}[optimizer.kind]
        yield (
            f"optimizer.type is {section['type']!r} in the JSON; the optimizer is {name} "
            "(optimizer.kind); remove the section"
        )
    ours = {
        "lr": optimizer.lr,
        "betas": [optimizer.beta1, optimizer.beta2],
        "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
    }
    for name, value in section.get("params", {}).items():
        if value != AUTO and name in ours and value != ours[name]:
            yield (
                f"optimizer.params.{name} is {value!r} in the JSON but {ours[name]!r} in the "
                "config; remove the section: optimizer.* of the config owns it"
            )
