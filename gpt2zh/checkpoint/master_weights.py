"""The fp32 weights and the optimizer's moments by parameter name, whatever ZeRO stage holds them.

DeepSpeed spreads them over ranks in ways that differ by stage, precision and offload. Here they
are whole tensors again, one parameter at a time: so a checkpoint depends neither on the stage nor
on the number of ranks. At stage 0 the optimizer holds whole tensors itself; at 1 and 2 DeepSpeed
tells which pieces a rank holds; at 3 its `safe_get_full_*` gather them.

All ranks call these functions together.
"""

from __future__ import annotations

from collections.abc import Callable
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
"""By parameter name, the pieces that ranks hold: rank, first element, elements."""

Keep = Callable[[str, torch.Size, int, torch.Tensor], None]
"""Takes a key, the shape of its tensor, the first element of a piece, and the piece, flat."""


def materialize_moments(engine: Any) -> None:
    """Give the optimizer its state before the first step: moments 0, no updates counted.

    torch makes it at the first step only, too late for setting it. DeepSpeed's wrapper of stage
    0 in half precision has taken an empty step by now, and its count would shift the bias
    correction by one.
    """
    optimizer = engine.basic_optimizer
    groups = optimizer.param_groups
    turned = {id(p) for group in groups if group.get("matrices") for p in group["params"]}
    for tensor in _updated_tensors(engine):
        # Muon's momentum is scaled anew at each step, so it needs no count to correct it.
        keys = MOMENTS[:1] if id(tensor) in turned else MOMENTS
        state = {key: torch.zeros_like(tensor) for key in keys}
        if id(tensor) not in turned:
            state["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device)
        optimizer.state[tensor] = state
    link = getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:  # stages 1 and 2 map parameters to slices of these tensors
        link()
    if isinstance(optimizer, Muon) and engine.zero_optimization_stage() in (1, 2):
        _give_slices(engine, optimizer)


def _give_slices(engine: Any, optimizer: Muon) -> None:
    """Tell Muon what stages 1 and 2 have put into its flat tensors."""
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
    """Which rank holds which piece of a parameter at full precision, at stages 1 and 2.

    DeepSpeed cuts the row of all parameters into equal parts, so that nearly all of them lie on one
    rank. None at the other stages.
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


def collect(engine: Any, pieces: Layout | None, world: World, keep: Keep) -> None:
    """Bring all weights to rank 0 and the moments of each parameter to one rank, in fp32.

    Nothing else travels: where the pieces are known, the moments of a parameter go to the rank that
    holds most of it, which is nearly always all of it. At stage 3 every rank gathers every tensor.

    Args:
        engine: The engine, between two steps.
        pieces: Of `find_layout`.
        world: This rank's place.
        keep: Called with `weight.<name>`, `exp_avg.<name>` and `exp_avg_sq.<name>` for all pieces
            of what this rank shall have.
    """
    optimizer = kind_of(engine.basic_optimizer)
    whole = _whole_masters(engine)
    loads = [0] * world.size
    loads[0] = sum(_numel(p) for p in unwrap_model(engine).parameters())  # it has the weights
    for name, parameter in unwrap_model(engine).named_parameters():
        moments = moments_of(optimizer, name)
        if pieces is not None:
            owner = max(pieces[name], key=lambda piece: piece[2])[0]
        else:
            owner = loads.index(min(loads))
            loads[owner] += len(moments) * _numel(parameter)
        for kind in ("weight", *moments):
            target = 0 if kind == "weight" else owner
            key = f"{kind}.{name}"
            if pieces is not None:
                _send_pieces(parameter, kind, pieces[name], target, world, key, keep)
                continue
            tensor = _whole(engine, whole, name, parameter, kind)
            if target == world.rank:
                keep(key, tensor.shape, 0, tensor.detach().float().flatten())


def _send_pieces(
    parameter: Any,
    kind: str,
    pieces: list[tuple[int, int, int]],
    target: int,
    world: World,
    key: str,
    keep: Keep,
) -> None:
    """Let the ranks that hold pieces of a tensor send them to one rank, which keeps them."""
    for rank, start, count in pieces:
        if world.rank not in (rank, target):
            continue
        if world.rank == rank:
            piece = parameter._hp_mapping.get_hp_fragment(None if kind == "weight" else kind)
            piece = piece.detach().float()
        if rank != target:
            device = parameter.device  # an offloaded optimizer's pieces are not where NCCL is
            if world.rank == rank:
                dist.send(piece.to(device).contiguous(), dst=target)
                continue
            piece = torch.empty(count, dtype=torch.float32, device=device)
            dist.recv(piece, src=rank)
        keep(key, parameter.shape, start, piece)


def _whole(
    engine: Any, masters: dict[str, torch.Tensor] | None, name: str, parameter: Any, kind: str
) -> torch.Tensor:
    """A tensor that every rank holds, at stage 0, or gathers, at stage 3."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if masters is not None:
        tensor = masters[name]
        return tensor if kind == "weight" else engine.basic_optimizer.state[tensor][kind]
    if kind == "weight":
        return safe_get_full_fp32_param(parameter)
    return safe_get_full_optimizer_state(parameter, kind)


def _numel(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def restore(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
    """Set fp32 weights, moments and the count of updates.

    The model must have held the same weights when the engine was built: then the low-precision
    copies, which this does not touch, are their roundings already.

    Args:
        engine: A fresh engine after `materialize_moments`.
        read: Gives the tensor of ("weight" or a moment, parameter name), fp32, any device.
        updates: Updates that the optimizer has made.
    """
    kind = kind_of(engine.basic_optimizer)
    whole = _whole_masters(engine)
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


def updates_made(engine: Any) -> int:
    """How often the weights have changed; fewer than the steps if fp16 skipped some."""
    return int(_counts(engine)[0].item())


def _counts(engine: Any) -> list[torch.Tensor]:
    """Where AdamW counts its updates, which always has some parameters."""
    return [state["step"] for state in engine.basic_optimizer.state.values() if "step" in state]


def _updated_tensors(engine: Any) -> list[torch.Tensor]:
    """The tensors that the optimizer updates on this rank: whole or flat slices, by stage."""
    if engine.zero_optimization_stage() == 3:  # it lends them to param_groups one by one
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return [p for group in engine.basic_optimizer.param_groups for p in group["params"]]


def _whole_masters(engine: Any) -> dict[str, torch.Tensor] | None:
    """At stage 0 the tensor that is updated for each parameter name; None where ZeRO runs."""
    if engine.zero_optimization():
        return None
    names = {id(p): name for name, p in unwrap_model(engine).named_parameters()}
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
