"""Faults of a DeepSpeed JSON that are found before DeepSpeed reads it.

DeepSpeed finds its own faults late, after the model is built, and ignores some without a word. Here
all are found at once, with what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from gpt2zh.config.deepspeed_names import AUTO, HARMLESS, INTEGERS, UNUSED
from gpt2zh.config.deepspeed_owned import find_optimizer_faults, find_scheduler_faults
from gpt2zh.config.schema import OptimizerConfig, TrainConfig

Offload = Literal["optimizer", "param"]

# The keys that are read here. DeepSpeed ignores a misspelt one without a word.
_NAMES = (
    "amp bf16 comms_logger communication_data_type compile compression_training data_types "
    "flops_profiler fp16 gradient_accumulation_steps gradient_clipping gradient_predivide_factor "
    "managed_gradient_accumulation optimizer prescale_gradients scheduler sparse_gradients timers "
    "torch_autocast train_batch_size train_micro_batch_size_per_gpu zero_optimization"
)
_TOP_LEVEL = frozenset({*_NAMES.split(), *HARMLESS, *UNUSED})
# With these, our checkpoints and losses would not be exact.
_REFUSED = {
    "amp": "use train.precision",
    "torch_autocast": "use train.precision",
    "compression_training": "it changes the model",
    "expert_parallel": "GPT-2 has no experts",
    "gradient_allreduce_op": "it changes the sum of the gradients",
    "gradient_predivide_factor": "it changes the sum of the gradients",
    "prescale_gradients": "it changes the sum of the gradients",
    "sequence_parallel_size": "each rank has whole rows",
    "sparse_gradients": "the tied embedding has dense gradients",
    "tensor_parallel": "each rank has the whole model",
}
# Values with which a key of _REFUSED changes nothing.
_WITHOUT_EFFECT = {
    "gradient_allreduce_op": "mean",
    "gradient_predivide_factor": 1.0,
    "sequence_parallel_size": 1,
}
# DeepSpeed ends with an error where it finds one of these, whatever is in it.
_REMOVED = {
    "curriculum_learning": "use train.sequence_length_warmup",
    "eigenvalue": "it was for quantization",
    "elasticity": "a run here continues on any number of ranks",
    "graph_harvesting": "use train.compile",
    "progressive_layer_drop": "every step trains all layers",
    "sparse_attention": "attention here is dense",
}
# The sections that are read here.
_TABLES = (
    *("zero_optimization", "bf16", "bfloat16", "fp16", "data_types", "timers", "compile"),
    *("zero_optimization.offload_optimizer", "zero_optimization.offload_param"),
    *("timers.throughput", "optimizer", "optimizer.params", "scheduler", "scheduler.params"),
)
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
    """Remove each section that is not a JSON object from a JSON, and yield a fault for it.

    The other checks need objects.
    """
    for path in _TABLES:
        *outer, name = path.split(".")
        table: Any = raw
        for part in outer:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        value = table.get(name) if isinstance(table, dict) else None
        if value is not None and not isinstance(value, dict):
            example = '{"enabled": true}' if "f16" in name or "float" in name else "{...}"
            yield f'{path} is {value!r} in the JSON; it must be an object: "{name}": {example}'
            del table[name]


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
    yield from find_optimizer_faults(raw.get("optimizer", {}), optimizer)
    yield from find_scheduler_faults(raw.get("scheduler", {}), train, optimizer)


def _misspelt(raw: dict[str, Any]) -> Iterable[str]:
    for key in raw:
        close = difflib.get_close_matches(key, _TOP_LEVEL, n=1, cutoff=0.8)
        if close and close[0] != key and key not in _TOP_LEVEL:
            yield f"unknown key {key} in the JSON; did you mean {close[0]}?"


def _refused(raw: dict[str, Any]) -> Iterable[str]:
    for key, why in _REFUSED.items():
        value = raw.get(key)
        enabled = value.get("enabled", False) if isinstance(value, dict) else value
        if isinstance(value, dict) and key.endswith("_parallel"):
            enabled = value.get("autotp_size", value.get("enabled", True))
        if enabled and enabled not in (AUTO, _WITHOUT_EFFECT.get(key, AUTO)):
            yield f"{key} is not supported: {why}; remove it from the JSON"
    for key, why in _REMOVED.items():
        if key in raw:
            yield f"{key} was removed from DeepSpeed: {why}; remove it from the JSON"
    if raw.get("compile", {}).get("deepcompile", AUTO) not in (AUTO, False):
        yield "compile.deepcompile is not supported: use train.compile; remove it from the JSON"


def _zero_faults(raw: dict[str, Any]) -> Iterable[str]:
    zero = raw.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    if stage not in (0, 1, 2, 3) or isinstance(stage, bool):
        yield f"zero_optimization.stage is {stage!r}; it must be 0, 1, 2 or 3"
        return
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
        if isinstance(value, str) and value != AUTO:
            yield (
                f"zero_optimization.{key} is the text {value!r}; it must be a number, true or "
                "false; remove the quotes"
            )
        elif key in INTEGERS and value != AUTO and not _is_count(value):
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
