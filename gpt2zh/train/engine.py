"""The DeepSpeed engine: built, stepped, and closed. The details of DeepSpeed stay in here."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import socket
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from gpt2zh.config.errors import UserError, raise_all
from gpt2zh.cost.memory import CONTEXT
from gpt2zh.ranks.device import Device, host_memory
from gpt2zh.ranks.world import World

# `dist.watch` ends ranks that hang; torch's own limits would do it first and without a reason.
_PATIENCE = datetime.timedelta(hours=2)


def start_processes(
    world: World, *, tf32: bool = False, deterministic: bool = False
) -> torch.device:
    """Initialise torch.distributed through DeepSpeed and return this rank's device.

    A process that no launcher started becomes a world of one.

    Args:
        world: This rank's place.
        tf32: Let a GPU round the inputs of fp32 matrix products to 10 bits, for speed.
        deterministic: Let a GPU add in the same order every time.

    Raises:
        UserError: There are more ranks on this machine than GPUs.
    """
    _choose_device()
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.local_size))
    os.environ.update(world.variables())
    gpu = _gpu_of(world)
    os.environ["LOCAL_RANK"] = str(gpu)  # DeepSpeed takes the GPU of this number
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    if "MASTER_PORT" not in os.environ:
        os.environ["MASTER_PORT"] = str(_free_port())
    deepspeed = _deepspeed()
    with contextlib.redirect_stdout(io.StringIO()):
        deepspeed.init_distributed(timeout=_PATIENCE)
    if torch.cuda.is_available():
        torch.cuda.set_device(gpu)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as cuBLAS wants it
            torch.use_deterministic_algorithms(True)
            # Filling memory that nobody reads would cost much.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        return torch.device("cuda", gpu)
    return torch.device("cpu")


def detect_device(world: World) -> Device:
    """What this rank computes on, with the memory that nobody else takes now."""
    _choose_device()
    if torch.cuda.is_available():
        gpu = _gpu_of(world)
        free, whole = torch.cuda.mem_get_info(gpu)  # which makes our context
        return Device(torch.cuda.get_device_name(gpu), min(whole, free + CONTEXT), is_gpu=True)
    return Device("CPU", host_memory() // world.local_size, is_gpu=False)


def read_gpu_id() -> str | None:
    """What tells this rank's GPU from all others; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def open_store() -> dist.TCPStore:
    """A connection of our own to the key-value store by which the ranks found each other."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(
        address,
        port,
        is_master=False,
        wait_for_workers=False,
        timeout=datetime.timedelta(seconds=20),
    )


def build_engine(model: torch.nn.Module, optimizer: torch.optim.Optimizer, resolved: dict) -> Any:
    """Hand model and optimizer to DeepSpeed.

    Args:
        model: Its forward pass gives a loss; fp32 weights, equal on all ranks.
        optimizer: Over the model's parameters.
        resolved: The dict of `config.deepspeed.resolve`.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # BF16_Optimizer prints its memory
        engine, *_ = _deepspeed().initialize(model=model, optimizer=optimizer, config=resolved)
    if engine.fp16_enabled() and hasattr(_scaler(engine), "raise_error_at_min_scale"):
        _scaler(engine).raise_error_at_min_scale = False  # bad numbers are judged by the loop
    return engine


def compile_model(engine: Any) -> None:
    """Let the next forward pass compile the model into one graph; its parameters keep their names.

    Not by `engine.compile()`: that compiles DeepSpeed's own hooks around the model as well, whose
    count of micro-batches differs at each call, so they are compiled again and again until torch
    gives up (runtime/engine.py, _module_forward_post_hook).

    Shapes are taken as fixed: each length of a sequence length warm-up is compiled by itself, which
    is faster than kernels for any shape. torch's limit of 8 would end a long warm-up in an error.
    """
    torch._dynamo.config.recompile_limit = 64
    engine.module.forward = torch.compile(engine.module.forward, fullgraph=True, dynamic=False)


def is_compiled(engine: Any) -> bool:
    """Whether `compile_model` was called last."""
    return "forward" in vars(engine.module)


def run_eagerly(engine: Any) -> None:
    """Undo `compile_model`."""
    del engine.module.forward
    torch._dynamo.reset()


def unwrap_model(engine: Any) -> Any:
    """The language model inside the engine, with the parameter names of its Hugging Face folder."""
    return engine.module.model


def begin_micro_batch(engine: Any, *, is_last: bool) -> None:
    """Tell DeepSpeed whether the weights are updated after this micro-batch.

    The loop knows it, so no count of DeepSpeed's own decides where a step ends.
    """
    engine.set_gradient_accumulation_boundary(is_last)


def backward(engine: Any, loss: torch.Tensor) -> None:
    """Add the gradients of a micro-batch's share of the step's loss.

    DeepSpeed multiplies by the loss scale where ZeRO runs; at stage 0 its fp16 optimizer only
    divides by it (runtime/engine.py, backward; fp16/unfused_optimizer.py, step). Nor shall it
    divide by the number of micro-batches: the loss is a share of the whole step's already.
    """
    if engine.fp16_enabled() and not engine.zero_optimization():
        loss = loss * engine.optimizer.loss_scale
    engine.backward(loss, scale_wrt_gas=False)


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def get_loss_scale(engine: Any) -> float | None:
    """The factor that keeps fp16 gradients from vanishing; None in the other precisions."""
    return float(engine.optimizer.loss_scale) if engine.fp16_enabled() else None


_SCALER_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def get_scaler_state(engine: Any) -> dict[str, float]:
    """The state of fp16's dynamic loss scale by field; nothing in the other precisions."""
    scaler = _scaler(engine) if engine.fp16_enabled() else None
    return {f: getattr(scaler, f) for f in _SCALER_FIELDS if hasattr(scaler, f)}


def set_scaler_state(engine: Any, values: dict[str, float]) -> None:
    """Set what `get_scaler_state` has told."""
    if engine.fp16_enabled():
        for field, value in values.items():
            if hasattr(_scaler(engine), field):
                setattr(_scaler(engine), field, value)


def _scaler(engine: Any) -> Any:
    """Where DeepSpeed keeps the dynamic loss scale: by stage in one of two places."""
    optimizer = engine.optimizer
    return getattr(optimizer, "loss_scaler", None) or getattr(optimizer, "loss_scale_config", None)


@dataclass(frozen=True)
class Update:
    """What the last micro-batch of a step did to the weights; the same on every rank."""

    applied: bool
    """Whether the weights changed: they do not if the gradients' norm is not finite."""
    norm: torch.Tensor | None
    """Global norm of the gradients before clipping, shape (); None if it was not measured."""
    may_overflow: bool
    """Whether fp16's loss scale can still be lowered, which makes overflow an ordinary thing."""


def update_weights(engine: Any) -> Update:
    """End the last micro-batch of a step: update the weights unless a gradient is not finite.

    DeepSpeed measures the norm over all ranks and then leaves the weights alone (zero/
    stage_1_and_2.py, stage3.py, bf16_optimizer.py, fp16/unfused_optimizer.py, step). Only at stage
    0 in fp32 nothing guards them, nor is a norm measured; there torch's fused AdamW is told to take
    an empty step by `found_inf`, as torch's own loss scaling does.
    """
    scale = get_loss_scale(engine)
    norm = _plain_gradient_norm(engine)
    if norm is not None:
        # Every rank holds the same sums; asking all of them is for memory that has gone bad.
        bad = (~norm.isfinite()).float()
        dist.all_reduce(bad, op=dist.ReduceOp.MAX)
        engine.basic_optimizer.found_inf = bad
        engine.step()
        return Update(not bad, norm, may_overflow=False)
    before = engine.skipped_steps
    engine.step()
    norm = engine.get_global_grad_norm()
    if norm is not None:
        # At stage 0 DeepSpeed's norm still contains the loss scale.
        factor = 1.0 if engine.zero_optimization() else scale or 1.0
        norm = torch.as_tensor(norm, dtype=torch.float32) / factor
    return Update(
        engine.skipped_steps == before, norm, may_overflow=scale is not None and scale > 1
    )


def _plain_gradient_norm(engine: Any) -> torch.Tensor | None:
    """The global norm of gradients that no wrapper of DeepSpeed holds, else None."""
    if engine.zero_optimization() or engine.fp16_enabled() or engine.bfloat16_enabled():
        return None
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def check_precision(precision: str) -> None:
    """Let DeepSpeed tell whether it can train in a precision on the device that is here.

    Raises:
        UserError: It cannot.
    """
    _choose_device()
    from deepspeed.accelerator import get_accelerator

    device = get_accelerator()
    if precision == "fp16" and not device.is_fp16_supported():
        raise UserError("train.precision fp16: this device has no fp16; use bf16 or fp32")
    # torch's own question is answered with yes for old cards, too, which only emulate bf16.
    too_old = torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)
    if precision == "bf16" and (too_old or not device.is_bf16_supported()):
        raise UserError("train.precision bf16: this device has no bf16; use fp16 or fp32")


def check_zero_options(resolved: dict[str, Any]) -> None:
    """Let DeepSpeed itself check `zero_optimization`, whatever the device.

    Raises:
        UserError: With everything that DeepSpeed objects to.
    """
    _choose_device()
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from pydantic import ValidationError

    try:
        DeepSpeedZeroConfig(**resolved.get("zero_optimization", {}))
    except ValidationError as error:
        faults = [
            f"zero_optimization.{'.'.join(map(str, fault['loc']))}: {fault['msg']} "
            f"(given: {fault['input']!r})"
            for fault in error.errors()
        ]
        raise_all(faults, "the DeepSpeed JSON")


def close() -> None:
    """Leave the process group, all ranks together.

    Without the barrier a ZeRO 3 rank now and then dies at exit ("terminate called without an
    active exception").
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _gpu_of(world: World) -> int:
    """The number of this rank's GPU among those it sees."""
    seen = torch.cuda.device_count()
    if seen <= 1 or world.local_size == 1:  # a scheduler may show each rank its own GPU only
        return 0 if seen == 1 else world.local_rank
    if world.local_rank >= seen:
        raise UserError(
            f"{world.local_size} ranks were started on this machine, which has {seen} GPUs; start "
            "one rank per GPU"
        )
    return world.local_rank


def _choose_device() -> None:
    """Tell DeepSpeed, before it is imported, to use the CPU where there is no GPU."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def _deepspeed() -> Any:
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel("ERROR")
    # Else its CPU backend compiles a shared-memory operation at the first start (25 s) and dies
    # where there is no C++ compiler (deepspeed/comm/torch.py, build_shm_op).
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
