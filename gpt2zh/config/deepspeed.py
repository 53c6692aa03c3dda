"""Resolve a DeepSpeed JSON against our config, so that no number has two homes.

Ours are batch, accumulation, clipping, precision, optimizer and schedule: in the JSON they are
absent, "auto" or equal. Its own are ZeRO, offload, buckets and communication: we never set them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from gpt2zh.config.batch import accumulation
from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.config.schema import OptimizerConfig, TrainConfig

AUTO = "auto"

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
    faults = [*_misspelt(raw), *_refused(raw), *_zero_faults(raw), *_sum_faults(raw, train)]
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


def zero_stage(resolved: dict[str, Any]) -> int:
    """The ZeRO stage of a DeepSpeed dict; 0 when it names none."""
    return int(resolved.get("zero_optimization", {}).get("stage", 0))


def _owned(train: TrainConfig, optimizer: OptimizerConfig, ranks: int) -> dict[str, Any]:
    return {
        "gradient_accumulation_steps": accumulation(train, ranks),
        "train_batch_size": train.global_batch,
        "train_micro_batch_size_per_gpu": train.rows_at_once,
        "gradient_clipping": optimizer.clip,
        "bf16.enabled": train.precision == "bf16",
        "fp16.enabled": train.precision == "fp16",
        # torch's fused AdamW is handed in: no compiler is needed, on the CPU neither.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        # It waits for the GPU twice in every micro-batch (utils/timer.py, ThroughputTimer).
        "timers.throughput.enabled": False,
    }


def _not_tables(raw: dict[str, Any]) -> Iterable[str]:
    """Sections that hold something else than options."""
    zero = raw.get("zero_optimization", {})
    offloads = zero if isinstance(zero, dict) else {}
    for where, table, names in (
        ("", raw, ("zero_optimization", "bf16", "bfloat16", "fp16", "data_types")),
        ("", raw, ("optimizer", "scheduler")),
        ("zero_optimization.", offloads, ("offload_optimizer", "offload_param")),
    ):
        for name in names:
            value = table.get(name)
            if value is not None and not isinstance(value, dict):
                example = '{"enabled": true}' if "f16" in name or "float" in name else "{...}"
                yield f'{where}{name} is {value!r} in the JSON; it is a table: "{name}": {example}'


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
    for name, least in (("offload_optimizer", 1), ("offload_param", 3)):
        device = (zero.get(name) or {}).get("device", "none")
        if device == "none":
            continue
        if stage < least:
            yield f"zero_optimization.{name} needs stage {least} or more, the JSON has {stage}"
        if device != "cpu":
            yield f"zero_optimization.{name}.device is {device!r}; supported are cpu and none"


def _sum_faults(raw: dict[str, Any], train: TrainConfig) -> Iterable[str]:
    """A type for summing gradients that DeepSpeed has not at stage 0."""
    dtype = raw.get("data_types", {}).get("grad_accum_dtype", AUTO)
    stage = raw.get("zero_optimization", {}).get("stage", 0)
    if stage == 0 and dtype not in (AUTO, train.precision):
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
    if (zero.get("offload_optimizer") or {}).get("device", "none") != "none":
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
