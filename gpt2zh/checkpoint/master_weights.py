"""Collect and restore the master weights and the moments by parameter name, at any ZeRO stage.

Master weights are the fp32 weights that the optimizer updates. DeepSpeed distributes them over
ranks in ways that depend on stage, precision and offload. Here they become whole tensors again, one
parameter at a time, so a checkpoint depends neither on the stage nor on the number of ranks. At
stage 0 the optimizer holds whole tensors; at 1 and 2 DeepSpeed knows which slices a rank holds; at
3 its `safe_get_full_*` functions gather them.

DeepSpeed's `round_robin_gradients` reorders parameters without a record, so that names would be
wrong here; `config.deepspeed` refuses it.

All ranks call these functions together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional as F

from gpt2zh.model.shape import matrices_in
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import unwrap_model
from gpt2zh.train.muon import Muon, ParameterSlice
from gpt2zh.train.optimizer import MOMENTS, kind_of, moments_of

Layout = dict[str, list[tuple[int, int, int]]]
"""By parameter name, the slices that ranks hold: rank, first element, number of elements."""

Keep = Callable[[str, torch.Size, int, torch.Tensor], None]
"""Takes a key, the shape of its tensor, the first element of a slice, and the slice, flat."""


def materialize_moments(engine: Any) -> None:
    """Create the state of the optimizer before the first step: moments 0, no updates counted.

    torch creates it at the first step, too late for restoring it; stages 1 and 2 must be told when
    it is created earlier. DeepSpeed's wrapper of stage 0 in half precision has taken an empty step
    by now, and its count would shift the bias correction by one.
    """
    optimizer = engine.basic_optimizer
    groups = optimizer.param_groups
    by_muon = {id(p) for group in groups if group.get("matrices") for p in group["params"]}
    for tensor in _updated_tensors(engine):
        # Muon scales its result at each step, so it needs no count to correct the momentum.
        keys = MOMENTS[:1] if id(tensor) in by_muon else MOMENTS
        state = {key: torch.zeros_like(tensor) for key in keys}
        if id(tensor) not in by_muon:
            state["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device)
        optimizer.state[tensor] = state
    link = getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:  # stages 1 and 2 map parameters to slices of these tensors
        link()
    if isinstance(optimizer, Muon) and engine.zero_optimization_stage() in (1, 2):
        _give_slices(engine, optimizer)


def _give_slices(engine: Any, optimizer: Muon) -> None:
    """Tell Muon which parameters stages 1 and 2 have put into its flat tensors."""
    parameters = [(matrices_in(name), p) for name, p in unwrap_model(engine).named_parameters()]
    addresses = [p._hp_mapping and p._hp_mapping.lp_fragment_address for _, p in parameters]
    parts = [
        a is not None and a.numel < p.numel()
        for a, (_, p) in zip(addresses, parameters, strict=True)
    ]
    is_cut = torch.tensor(parts, dtype=torch.int32, device=engine.device)
    dist.all_reduce(is_cut, op=dist.ReduceOp.MAX)
    for group in optimizer.param_groups:
        if not group.get("matrices"):
            continue
        pieces, shared = [], 0
        for (matrices, p), address, cut in zip(parameters, addresses, is_cut.tolist(), strict=True):
            if matrices != group["matrices"]:
                continue
            if address is not None:
                start = p._hp_mapping.hp_fragment_address.start
                where = shared if cut else None
                pieces.append(ParameterSlice(p.shape, start, address.start, address.numel, where))
            shared += cut * p.numel()
        (flat,) = group["params"]
        optimizer.set_slices(flat, pieces, shared)


def find_layout(engine: Any, control: ControlGroup) -> Layout | None:
    """Return which rank holds which slice of each parameter in fp32, at stages 1 and 2.

    DeepSpeed cuts the concatenation of all parameters into equal parts, so nearly every parameter
    lies on one rank. None at the other stages.
    """
    if engine.zero_optimization_stage() not in (1, 2):
        return None
    mine = {}
    for name, parameter in unwrap_model(engine).named_parameters():
        if parameter._hp_mapping is not None:
            address = parameter._hp_mapping.lp_fragment_address
            mine[name] = (int(address.start), int(address.numel))
    pieces: Layout = {}
    for rank, theirs in enumerate(control.gather(mine)):
        for name, (start, count) in theirs.items():
            pieces.setdefault(name, []).append((rank, start, count))
    return pieces


def collect(engine: Any, layout: Layout | None, world: World, keep: Keep) -> None:
    """Send all weights to rank 0 and the moments of each parameter to one rank, in fp32.

    Nothing else travels: at stages 1 and 2 the moments of a parameter go to the rank that holds
    most of it, which nearly always holds all of it. At stage 3 every rank gathers every tensor.

    Args:
        engine: The engine, between two steps.
        layout: The result of `find_layout`.
        world: This rank's place.
        keep: Called on the receiving rank with every slice of `weight.<name>`, `exp_avg.<name>` and
            `exp_avg_sq.<name>`.
    """
    optimizer = kind_of(engine.basic_optimizer)
    whole = _whole_master_weights(engine)
    loads = [0] * world.size
    loads[0] = sum(_numel(p) for p in unwrap_model(engine).parameters())  # it has the weights
    for name, parameter in unwrap_model(engine).named_parameters():
        moments = moments_of(optimizer, name)
        if layout is not None:
            owner = max(layout[name], key=lambda held: held[2])[0]
        else:
            owner = loads.index(min(loads))
            loads[owner] += len(moments) * _numel(parameter)
        for kind in ("weight", *moments):
            target = 0 if kind == "weight" else owner
            key = f"{kind}.{name}"
            if layout is not None:
                kept = partial(keep, key, parameter.shape)
                _send_slices(parameter, kind, layout[name], target, rank=world.rank, keep=kept)
                continue
            tensor = _whole(engine, whole, name, parameter, kind)
            if target == world.rank:
                keep(key, tensor.shape, 0, tensor.detach().float().flatten())


def _send_slices(
    parameter: Any,
    kind: str,
    held: list[tuple[int, int, int]],
    target: int,
    *,
    rank: int,
    keep: Callable[[int, torch.Tensor], None],
) -> None:
    """Send the slices of a tensor from the ranks that hold them to one rank, which keeps them."""
    for source, start, count in held:
        if rank not in (source, target):
            continue
        if rank == source:
            values = parameter._hp_mapping.get_hp_fragment(None if kind == "weight" else kind)
            values = values.detach().float()
        if source != target:
            device = parameter.device  # an offloaded optimizer's tensors are not on NCCL's device
            if rank == source:
                dist.send(values.to(device).contiguous(), dst=target)
                continue
            values = torch.empty(count, dtype=torch.float32, device=device)
            dist.recv(values, src=source)
        keep(start, values)


def _whole(
    engine: Any, held: dict[str, torch.Tensor] | None, name: str, parameter: Any, kind: str
) -> torch.Tensor:
    """Return a whole tensor: every rank holds it at stage 0 and gathers it at stage 3."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if held is not None:
        tensor = held[name]
        return tensor if kind == "weight" else engine.basic_optimizer.state[tensor][kind]
    if kind == "weight":
        return safe_get_full_fp32_param(parameter)
    return safe_get_full_optimizer_state(parameter, kind)


def _numel(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def restore(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
    """Set master weights, moments and the count of updates.

    The engine must have been built around the same weights: then the low-precision copies, which
    this function does not change, are already the rounded values.

    Args:
        engine: A new engine after `materialize_moments`.
        read: Returns the tensor of ("weight" or a moment, parameter name), fp32, any device.
        updates: Number of updates that the optimizer has made.
    """
    kind = kind_of(engine.basic_optimizer)
    whole = _whole_master_weights(engine)
    with torch.no_grad():
        for name, parameter in unwrap_model(engine).named_parameters():
            for key in ("weight", *moments_of(kind, name)):
                value = read(key, name)
                if whole is None:
                    _set_sharded(engine, parameter, key, value)
                elif key == "weight":
                    whole[name].copy_(value)
                else:
                    engine.basic_optimizer.state[whole[name]][key].copy_(value)
    for count in _counts(engine):
        count.fill_(updates)


def count_updates(engine: Any) -> int:
    """Return how often the weights have changed; fewer than the steps if fp16 skipped some."""
    return int(_counts(engine)[0].item())


def _counts(engine: Any) -> list[torch.Tensor]:
    """Return the tensors in which AdamW counts its updates; at least one parameter uses AdamW."""
    return [state["step"] for state in engine.basic_optimizer.state.values() if "step" in state]


def _updated_tensors(engine: Any) -> list[torch.Tensor]:
    """Return the tensors that the optimizer updates on this rank: whole ones or flat slices."""
    if engine.zero_optimization_stage() == 3:  # DeepSpeed puts them into param_groups one at a time
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return [p for group in engine.basic_optimizer.param_groups for p in group["params"]]


def _whole_master_weights(engine: Any) -> dict[str, torch.Tensor] | None:
    """Return at stage 0 the tensor that is updated, by parameter name; None with ZeRO.

    In half precision they begin as the rounded low-precision weights.
    """
    if engine.zero_optimization():
        return None
    names = {id(p): name for name, p in unwrap_model(engine).named_parameters()}
    if not hasattr(engine.optimizer, "fp32_groups"):  # fp32: the parameters themselves
        return {names[id(p)]: p for p in _updated_tensors(engine)}
    pairs = zip(engine.optimizer.fp16_groups, engine.optimizer.fp32_groups, strict=True)
    return {
        names[id(low)]: high for lows, highs in pairs for low, high in zip(lows, highs, strict=True)
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
    # Not safe_set_full_*: at stage 3 it slices beyond the end of a parameter whose length is not
    # divisible by the number of ranks (zero/stage3.py, set_full_hp_param).
    length = parameter.ds_tensor.numel()
    flat = F.pad(value.flatten(), (0, length * engine.dp_world_size - value.numel()))
    begin = engine.optimizer._get_param_partition_rank(parameter) * length
    mine = flat[begin : begin + length].to(parameter.ds_tensor.device)
    if key == "weight":
        safe_set_local_fp32_param(parameter, mine)
    else:
        safe_set_local_optimizer_state(parameter, mine, key)
