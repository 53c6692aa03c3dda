"""The fp32 weights and AdamW's moments by parameter name, whatever ZeRO stage holds them.

DeepSpeed spreads them over ranks in ways that differ by stage, precision and offload. Here they
are whole tensors again, one parameter at a time: so a checkpoint depends neither on the stage nor
on the number of ranks. The public `safe_get_full_*` and `safe_set_*` of DeepSpeed do it where
ZeRO runs; at stage 0 torch's AdamW holds whole tensors itself.

All ranks call these functions together: they gather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from gpt2zh.train.engine import hidden_model

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Master:
    """One parameter at full precision; all tensors fp32 and of the parameter's shape."""

    name: str
    weight: torch.Tensor
    moments: dict[str, torch.Tensor]


def materialise_moments(engine: Any) -> None:
    """Give AdamW its state before the first step: moments 0, no updates counted.

    torch makes it at the first step only, too late for setting it. DeepSpeed's wrapper of stage
    0 in half precision has taken an empty step by now, and its count would shift the bias
    correction by one.
    """
    adamw = engine.basic_optimizer
    for tensor in _updated_tensors(engine):
        adamw.state[tensor] = {
            "step": torch.zeros((), dtype=torch.float32, device=tensor.device),
            **{key: torch.zeros_like(tensor) for key in MOMENTS},
        }
    link = getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:  # stages 1 and 2 map parameters to slices of these tensors
        link()


def collect(engine: Any) -> Iterator[Master]:
    """Yield every parameter at full precision, on every rank, in the model's order."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    whole = _whole_masters(engine)
    for name, parameter in hidden_model(engine).named_parameters():
        if whole is not None:
            master = whole[name]
            state = engine.basic_optimizer.state[master]
            yield Master(name, master.detach(), {key: state[key] for key in MOMENTS})
        else:
            yield Master(
                name,
                safe_get_full_fp32_param(parameter).float(),
                {k: safe_get_full_optimizer_state(parameter, k).float() for k in MOMENTS},
            )


def restore(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
    """Set fp32 weights, moments and AdamW's count of updates.

    The model must have held the same weights when the engine was built: then the low-precision
    copies, which this does not touch, are their roundings already.

    Args:
        engine: A fresh engine after `materialise_moments`.
        read: Gives the tensor of ("weight" or a moment, parameter name), fp32, any device.
        updates: Updates that AdamW has made.
    """
    whole = _whole_masters(engine)
    with torch.no_grad():
        for name, parameter in hidden_model(engine).named_parameters():
            for key in ("weight", *MOMENTS):
                value = read(key, name)
                if whole is None:
                    _set_sharded(engine, parameter, key, value)
                elif key == "weight":
                    whole[name].copy_(value)
                else:
                    engine.basic_optimizer.state[whole[name]][key].copy_(value)
    for state in engine.basic_optimizer.state.values():
        state["step"].fill_(updates)


def updates_made(engine: Any) -> int:
    """How often AdamW has changed the weights; fewer than the steps if fp16 skipped some."""
    return int(engine.basic_optimizer.state[next(iter(_updated_tensors(engine)))]["step"].item())


def _updated_tensors(engine: Any) -> list[torch.Tensor]:
    """The tensors that torch's AdamW updates on this rank: whole or flat slices, by stage."""
    if engine.zero_optimization_stage() == 3:  # it lends them to param_groups one by one
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return [p for group in engine.basic_optimizer.param_groups for p in group["params"]]


def _whole_masters(engine: Any) -> dict[str, torch.Tensor] | None:
    """At stage 0 the tensor that AdamW updates for each parameter name; None where ZeRO runs."""
    if engine.zero_optimization():
        return None
    names = {id(p): name for name, p in hidden_model(engine).named_parameters()}
    if not hasattr(engine.optimizer, "fp32_groups"):  # fp32: the parameters themselves
        return {names[id(p)]: p for p in _updated_tensors(engine)}
    pairs = zip(engine.optimizer.fp16_groups, engine.optimizer.fp32_groups, strict=True)
    return {
        names[id(low)]: master
        for lows, masters in pairs
        for low, master in zip(lows, masters, strict=True)
    }


def _set_sharded(engine: Any, parameter: Any, key: str, value: torch.Tensor) -> None:
    from deepspeed.utils import (
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    if engine.zero_optimization_stage() < 3:
        if key == "weight":
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, key)
        return
    # Not safe_set_full_* here: at stage 3 it slices beyond the end of a parameter whose length
    # the ranks do not divide (zero/stage3.py, set_full_hp_param).
    length = parameter.ds_tensor.numel()
    flat = F.pad(value.flatten(), (0, length * engine.dp_world_size - value.numel()))
    begin = engine.optimizer._get_param_partition_rank(parameter) * length
    mine = flat[begin : begin + length].to(parameter.ds_tensor.device)
    if key == "weight":
        safe_set_local_fp32_param(parameter, mine)
    else:
        safe_set_local_optimizer_state(parameter, mine, key)
