"""Resolve a DeepSpeed JSON against our config, so that no number has two homes.

Ours are batch, accumulation, clipping, precision, optimizer and schedule: in the JSON they are
absent, "auto" or equal. Its own are ZeRO, offload, buckets and communication: we never set them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from gpt2zh.config.batch import accumulation
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.schema import OptimizerConfig, TrainConfig

AUTO = "auto"
Offload = Literal["optimizer", "param"]

# What DeepSpeed reads at the top level and would ignore without a word when misspelt.
_NAMES = (
    "activation_checkpointing aio amp bf16 bfloat16 comms_logger communication_data_type "
    "compression_training csv_monitor data_types dataloader_drop_last dump_state flops_profiler "
    "fp16 gradient_accumulation_steps gradient_clipping gradient_predivide_factor memory_breakdown "
    "optimizer prescale_gradients scheduler sparse_gradients steps_per_print tensorboard timers "
    "torch_autocast train_batch_size train_micro_batch_size_per_gpu wall_clock_breakdown "
    "zero_allow_untested_optimizer zero_force_ds_cpu_optimizer zero_optimization"
)
_TOP_LEVEL = frozenset(_NAMES.split())
# Another optimizer or gradient path than the one our checkpoints and losses are exact for.
_REFUSED = {
    "amp": "use train.precision",
    "torch_autocast": "use train.precision",
    "compression_training": "it changes the model",
    "gradient_predivide_factor": "it changes the sum of the gradients",
    "prescale_gradients": "it changes the sum of the gradients",
    "sparse_gradients": "the tied embedding has dense gradients",
    "tensorboard": "RUN/tensorboard is always written",
}
# What is read here and holds options itself.
_TABLES = (
    *("zero_optimization", "bf16", "bfloat16", "fp16", "data_types", "timers"),
    *("zero_optimization.offload_optimizer", "zero_optimization.offload_param"),
    *("timers.throughput", "optimizer", "optimizer.params", "scheduler", "scheduler.params"),
)
# The numbers of zero_optimization, all of them whole (zero/config.py).
_WHOLE = (
    *("reduce_bucket_size", "allgather_bucket_size", "sub_group_size", "zero_hpz_partition_size"),
    *("stage3_prefetch_bucket_size", "stage3_module_granularity_threshold"),
    *("stage3_param_persistence_threshold", "stage3_model_persistence_threshold"),
    *("stage3_max_live_parameters", "stage3_max_reuse_distance"),
)
# What else DeepSpeed takes for some keys there; ours are read under one name only.
_OTHER_NAMES = {
    "cpu_offload": "offload_optimizer",
    "cpu_offload_param": "offload_param",
    **{key.removeprefix("stage3_"): key for key in _WHOLE if key.startswith("stage3_")},
}
# As DeepSpeed spells the types that gradients are summed in (runtime/config.py, DtypeEnum).
_TYPES = {
    **dict.fromkeys(("fp32", "float32", "float", "torch.float32"), "fp32"),
    **dict.fromkeys(("fp16", "float16", "half", "torch.float16"), "fp16"),
    **dict.fromkeys(("bf16", "bfloat16", "torch.bfloat16"), "bf16"),
}


def read(path: Path) -> dict[str, Any]:
    """Read a DeepSpeed JSON.

    Raises:
        UserError: The file is missing or is no JSON object.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"--deepspeed_config {path}: {error.strerror}; see ds_configs/") from error
    except ValueError as error:
        raise UserError(f"--deepspeed_config {path} is not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise UserError(f"--deepspeed_config {path} holds no JSON object")
    return table


def resolve(
    raw: dict[str, Any], train: TrainConfig, optimizer: OptimizerConfig, ranks: int
) -> dict[str, Any]:
    """Fill a DeepSpeed JSON with what our config owns.

    Args:
        raw: The JSON as the user wrote it; "auto" means: ours, or DeepSpeed's default.
        train: Owner of batch and precision.
        optimizer: Owner of clipping, learning rate and AdamW's numbers.
        ranks: Processes of the run.

    Returns:
        The dict for `deepspeed.initialize`.

    Raises:
        UserError: Every contradiction between the two, in one message.
    """
    raw = _without(raw, None)  # JSON's null is "not given"
    raise_all(list(_not_tables(raw)), "the DeepSpeed JSON")
    faults = [*_misspelt(raw), *_refused(raw), *_zero_faults(raw), *_type_faults(raw, train)]
    if train.compile == "always" and raw.get("zero_optimization", {}).get("stage") == 3:
        faults.append(
            "train.compile is always, but zero_optimization.stage 3 gathers weights amid the "
            "model, which cannot be one graph then; use train.compile auto or a lower stage"
        )
    faults += _muon_faults(raw, optimizer)
    filled = deepcopy(raw)
    filled.pop("scheduler", None)
    theirs = filled.pop("optimizer", None)
    if theirs is not None:
        faults += _optimizer_faults(theirs, optimizer)
    if raw.get("scheduler") and not _all_auto(raw["scheduler"].get("params", {"": ""})):
        faults.append("scheduler is set there; remove it: optimizer.schedule owns the schedule")
    if "bfloat16" in filled:  # DeepSpeed's older name of it
        filled["bf16"] = filled.pop("bfloat16") | filled.get("bf16", {})
    try:
        owned = _owned(train, optimizer, ranks)
    except UserError as error:
        owned = {}
        faults.append(str(error))
    for name, value in owned.items():
        *path, key = name.split(".")
        node = filled
        for part in path:
            node = node.setdefault(part, {})
        if node.get(key, AUTO) not in (AUTO, value):
            faults.append(
                f"{name} is {node[key]!r} in the JSON but {value!r} from the config; "
                "remove it from the JSON or write auto"
            )
        node[key] = value
    raise_all(faults, "the DeepSpeed JSON contradicts the config")
    filled = _without(filled, AUTO)  # what is still "auto" means DeepSpeed's own default
    if train.precision != "fp32" and zero_stage(filled) > 0:
        # Half-precision sums of many micro-batches lose small gradients (DeepSpeed issue 1800).
        filled.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")
    return filled


def zero_stage(resolved: Mapping[str, Any]) -> int:
    """The ZeRO stage of a DeepSpeed dict; 0 when it names none."""
    return int(resolved.get("zero_optimization", {}).get("stage", 0))


def is_offloaded(table: Mapping[str, Any], name: Offload) -> bool:
    """Whether a DeepSpeed dict, raw or resolved, keeps optimizer or weights in host memory."""
    zero = table.get("zero_optimization") or {}
    return (zero.get(f"offload_{name}") or {}).get("device") not in (None, AUTO, "none")


def precision(resolved: Mapping[str, Any]) -> str:
    """The `train.precision` of a resolved dict."""
    return next((name for name in ("bf16", "fp16") if resolved[name]["enabled"]), "fp32")


def sum_type(resolved: Mapping[str, Any]) -> str:
    """What gradients are summed up in over the micro-batches: fp32, bf16 or fp16."""
    types = resolved.get("data_types", {})
    return _TYPES[types.get("grad_accum_dtype", precision(resolved))]


def has_bf16_optimizer(resolved: Mapping[str, Any]) -> bool:
    """Whether DeepSpeed makes a BF16_Optimizer of it (engine.py, _do_optimizer_sanity_check)."""
    return (
        zero_stage(resolved) == 1
        and (precision(resolved), sum_type(resolved)) == ("bf16", "fp32")
        and not is_offloaded(resolved, "optimizer")
    )


def _owned(train: TrainConfig, optimizer: OptimizerConfig, ranks: int) -> dict[str, Any]:
    return {
        "gradient_accumulation_steps": accumulation(train, ranks),
        "train_batch_size": train.global_batch,
        "train_micro_batch_size_per_gpu": train.rows_at_once,
        "gradient_clipping": optimizer.max_grad_norm,
        "bf16.enabled": train.precision == "bf16",
        "fp16.enabled": train.precision == "fp16",
        # torch's fused AdamW is handed in: no compiler is needed, on the CPU neither.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        # It waits for the GPU twice in every micro-batch (utils/timer.py, ThroughputTimer).
        "timers.throughput.enabled": False,
        # Each micro-batch tells whether the weights are updated after it (train/engine.py).
        "managed_gradient_accumulation": True,
    }


def _not_tables(raw: dict[str, Any]) -> Iterable[str]:
    """Sections that hold something else than options."""
    for path in _TABLES:
        *outer, name = path.split(".")
        table: Any = raw
        for part in outer:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        value = table.get(name) if isinstance(table, dict) else None
        if value is not None and not isinstance(value, dict):
            example = '{"enabled": true}' if "f16" in name or "float" in name else "{...}"
            yield f'{path} is {value!r} in the JSON; it is a table: "{name}": {example}'


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
        yield f"zero_optimization.stage is {stage!r}; it is 0, 1, 2 or 3"
        return
    if zero.get("round_robin_gradients", AUTO) not in (AUTO, False):
        yield (
            "zero_optimization.round_robin_gradients is not supported: it changes the order of the "
            "parameters without telling, and checkpoints would mix them up; remove it"
        )
    least: dict[Offload, int] = {"optimizer": 1, "param": 3}
    for name in least:
        if not is_offloaded(raw, name):
            continue
        where, device = f"zero_optimization.offload_{name}", zero[f"offload_{name}"]["device"]
        if stage < least[name]:
            yield f"{where} needs stage {least[name]} or more, the JSON has {stage}"
        if device != "cpu":
            yield f"{where}.device is {device!r}; supported are cpu and none"
    for key, value in zero.items():
        if key in _OTHER_NAMES:
            yield f"zero_optimization.{key}: write zero_optimization.{_OTHER_NAMES[key]} instead"
        elif isinstance(value, str) and value != AUTO:
            yield (
                f"zero_optimization.{key} is the text {value!r}; it is a number, true or false; "
                "remove the quotes"
            )
        elif key in _WHOLE and value != AUTO and not _is_whole(value):
            yield f"zero_optimization.{key} is {value!r}; it is a whole number, 0 or more"


def _is_whole(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value >= 0 and value % 1 == 0  # 5e8 is, as JSON has it


def _type_faults(raw: dict[str, Any], train: TrainConfig) -> Iterable[str]:
    """Types that DeepSpeed does not know or has not at stage 0, or that would lose gradients."""
    sent, usual = raw.get("communication_data_type", AUTO), ("fp32", "fp16", "bf16")
    if sent not in (AUTO, *usual):
        yield f"communication_data_type is {sent!r}; it is {', '.join(usual)} or left out"
    dtype = raw.get("data_types", {}).get("grad_accum_dtype", AUTO)
    stage = raw.get("zero_optimization", {}).get("stage", 0)
    if dtype == AUTO:
        return
    if not isinstance(dtype, str) or _TYPES.get(dtype) not in ("fp32", train.precision):
        yield (
            f"data_types.grad_accum_dtype is {dtype!r}; gradients are summed in fp32 or as "
            f"train.precision, {train.precision}; write one of these or remove it"
        )
    elif stage == 0 and _TYPES[dtype] != train.precision:
        yield (
            f"data_types.grad_accum_dtype {dtype!r} needs zero_optimization.stage 1 or more when "
            f"train.precision is {train.precision}; remove it or use ds_configs/zero1.json"
        )


def _muon_faults(raw: dict[str, Any], optimizer: OptimizerConfig) -> Iterable[str]:
    """ZeRO that leaves no whole matrices to Muon, or not where they are turned fast."""
    zero = raw.get("zero_optimization", {})
    if optimizer.kind != "muon":
        return
    if zero.get("stage", 0) == 3:
        yield (
            "optimizer.kind muon needs zero_optimization.stage 0, 1 or 2, the JSON has 3, which "
            "cuts every matrix among all ranks; use ds_configs/zero2.json or optimizer.kind adamw"
        )
    if is_offloaded(raw, "optimizer"):
        yield (
            "optimizer.kind muon has products of matrices to compute, far too many for a CPU; "
            "remove zero_optimization.offload_optimizer or use optimizer.kind adamw"
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
                f"optimizer.params.{name} is {value!r} in the JSON but {ours[name]!r} from the "
                "config; remove the section: optimizer.* of the config owns it"
            )


def _all_auto(params: dict[str, Any]) -> bool:
    return all(value == AUTO for value in params.values())


def _without(table: dict[str, Any], unwanted: Any) -> dict[str, Any]:
    """The table without the keys that have this value, at any depth."""
    return {
        key: _without(value, unwanted) if isinstance(value, dict) else value
        for key, value in table.items()
        if value != unwanted
    }
