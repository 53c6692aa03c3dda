"""The process group and the DeepSpeed engine.

What differs between ZeRO stages and precisions is handled here and in `checkpoint.master_weights`,
so that the loop does not see it.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from gpt2zh.config.errors import UserError
from gpt2zh.cost.memory import CONTEXT
from gpt2zh.ranks.device import Device, host_memory
from gpt2zh.ranks.meeting import meet
from gpt2zh.ranks.port import free_port
from gpt2zh.ranks.world import World
from gpt2zh.train.deepspeed_library import choose_accelerator, import_deepspeed

# `ranks.watch` ends ranks that hang and says why; a shorter limit of torch would come first.
_TIMEOUT = datetime.timedelta(hours=2)


def start_processes(
    world: World,
    *,
    tf32: bool = False,
    deterministic: bool = False,
    run: str = "",
    met: Callable[[], None] = lambda: None,
) -> torch.device:
    """Initialise torch.distributed through DeepSpeed and return this rank's device.

    A process that was started without a launcher becomes a world of one.

    Args:
        world: This rank's place.
        tf32: Allow TF32: a GPU rounds the inputs of fp32 matrix products to 10 bits, for speed.
        deterministic: Use deterministic algorithms on a GPU.
        run: What tells the ranks of this run from those of others; see `ranks.meeting`.
        met: Called when all ranks have met, before they open their process group. torch would wait
            for hours for one that dies then.

    Raises:
        UserError: More ranks than GPUs on this machine, or the ranks cannot meet.
        RunError: A rank died or did not come.
    """
    choose_accelerator()
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.local_size))
    os.environ.update(world.variables())
    gpu = _gpu_of(world)
    os.environ["LOCAL_RANK"] = str(gpu)  # DeepSpeed takes the GPU of this number
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    if "MASTER_PORT" not in os.environ:
        os.environ["MASTER_PORT"] = str(free_port())
    deepspeed = import_deepspeed()
    store = meet(world, run=run)
    met()
    with contextlib.redirect_stdout(io.StringIO()):
        deepspeed.init_distributed(timeout=_TIMEOUT)
    del store  # from here on the process group serves it
    if torch.cuda.is_available():
        torch.cuda.set_device(gpu)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it
            torch.use_deterministic_algorithms(True)
            # It would also fill memory that nobody reads, which takes time.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        return torch.device("cuda", gpu)
    return torch.device("cpu")


def detect_device(world: World) -> Device:
    """Return the device of this rank, with the memory that is free now."""
    choose_accelerator()
    if torch.cuda.is_available():
        gpu = _gpu_of(world)
        free, whole = torch.cuda.mem_get_info(gpu)  # this call creates our context
        return Device(torch.cuda.get_device_name(gpu), min(whole, free + CONTEXT), is_gpu=True)
    return Device("CPU", host_memory() // world.local_size, is_gpu=False)


def read_gpu_id() -> str | None:
    """Return the UUID of this rank's GPU; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def open_store() -> dist.TCPStore:
    """Open a connection of our own to the key-value store through which the ranks met."""
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
        model: Its forward pass returns a loss; fp32 weights, equal on all ranks.
        optimizer: Over the model's parameters.
        resolved: The dict of `config.deepspeed.resolve`.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # BF16_Optimizer prints its memory
        engine, *_ = import_deepspeed().initialize(
            model=model, optimizer=optimizer, config=resolved
        )
    if engine.fp16_enabled() and hasattr(_scaler(engine), "raise_error_at_min_scale"):
        _scaler(engine).raise_error_at_min_scale = False  # the loop judges bad numbers
    return engine


def compile_model(engine: Any) -> None:
    """Let the next forward pass compile the model into one graph; its parameters keep their names.

    `engine.compile()` is not used: it also compiles DeepSpeed's hooks around the model. Their count
    of micro-batches differs at each call, so they are recompiled until torch gives up after 8 times
    (runtime/engine.py, _module_forward_post_hook).

    Shapes are static: each length of a sequence length warm-up is compiled separately, which is
    faster than kernels for any shape. torch's limit of 8 graphs would end a long warm-up in an
    error, so it is raised.
    """
    torch._dynamo.config.recompile_limit = 64
    engine.module.forward = torch.compile(engine.module.forward, fullgraph=True, dynamic=False)


def is_compiled(engine: Any) -> bool:
    """Return whether the model is compiled: `compile_model` came after any `run_eagerly`."""
    return "forward" in vars(engine.module)


def run_eagerly(engine: Any) -> None:
    """Undo `compile_model`."""
    del engine.module.forward
    torch._dynamo.reset()


def unwrap_model(engine: Any) -> Any:
    """Return the language model inside the engine, with its Hugging Face parameter names."""
    return engine.module.model


def begin_micro_batch(engine: Any, *, is_last: bool) -> None:
    """Tell DeepSpeed whether the weights are updated after this micro-batch.

    DeepSpeed itself counts the micro-batches of all steps and takes the remainder. A step with
    fewer of them would end in the middle of the next one, so the caller decides.
    """
    engine.set_gradient_accumulation_boundary(is_last)


def backward(engine: Any, loss: torch.Tensor) -> None:
    """Add the gradients of a micro-batch's share of the step's loss.

    With ZeRO, DeepSpeed multiplies by the loss scale; at stage 0 its fp16 optimizer only divides by
    it (runtime/engine.py, backward; fp16/unfused_optimizer.py, step). It must not divide by the
    number of micro-batches: the loss is already a share of the whole step's.
    """
    if engine.fp16_enabled() and not engine.zero_optimization():
        loss = loss * engine.optimizer.loss_scale
    engine.backward(loss, scale_wrt_gas=False)


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def get_loss_scale(engine: Any) -> float | None:
    """Return the factor that keeps fp16 gradients from underflow; None in other precisions."""
    return float(engine.optimizer.loss_scale) if engine.fp16_enabled() else None


_SCALER_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def get_scaler_state(engine: Any) -> dict[str, float]:
    """Return the state of fp16's dynamic loss scale by field; empty in other precisions."""
    scaler = _scaler(engine) if engine.fp16_enabled() else None
    return {f: getattr(scaler, f) for f in _SCALER_FIELDS if hasattr(scaler, f)}


def set_scaler_state(engine: Any, values: dict[str, float]) -> None:
    """Set what `get_scaler_state` returned."""
    if engine.fp16_enabled():
        for field, value in values.items():
            if hasattr(_scaler(engine), field):
                setattr(_scaler(engine), field, value)


def _scaler(engine: Any) -> Any:
    """Return the object that holds the dynamic loss scale: one of two, depending on the stage."""
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
    """Whether fp16's loss scale can still be reduced, so that an overflow is normal."""


def update_weights(engine: Any) -> Update:
    """End the last micro-batch of a step: update the weights unless a gradient is not finite.

    DeepSpeed measures the norm over all ranks and skips the step in every precision if it is not
    finite (zero/stage_1_and_2.py, stage3.py, bf16_optimizer.py, fp16/unfused_optimizer.py, step).
    Only at stage 0 in fp32 it measures no norm and skips nothing. There `found_inf` makes torch's
    fused AdamW skip the step, as torch's own loss scaling does.
    """
    scale = get_loss_scale(engine)
    norm = _plain_gradient_norm(engine)
    if norm is not None:
        # Every rank has the same sums, unless the memory of one is faulty: so all are asked.
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
    """Return the global gradient norm at stage 0 in fp32, where DeepSpeed has none; else None."""
    if engine.zero_optimization() or engine.fp16_enabled() or engine.bfloat16_enabled():
        return None
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def close() -> None:
    """Leave the process group, all ranks together.

    Without the barrier a ZeRO 3 rank sometimes dies at exit ("terminate called without an active
    exception").
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _gpu_of(world: World) -> int:
    """Return the number of this rank's GPU among those it sees."""
    seen = torch.cuda.device_count()
    if seen <= 1 or world.local_size == 1:  # a scheduler may show each rank its own GPU only
        return 0 if seen == 1 else world.local_rank
    if world.local_rank >= seen:
        raise UserError(
            f"{world.local_size} ranks were started on this machine, but it has {seen} GPUs; start "
            "one rank per GPU"
        )
    return world.local_rank
