"""DeepSpeed as a library: imported with our settings, and asked what it accepts."""

from __future__ import annotations

import os
from typing import Any

import torch

from gpt2zh.config.errors import UserError, raise_all


def choose_accelerator() -> None:
    """Make DeepSpeed use the CPU where there is no GPU; call it before DeepSpeed is imported.

    Raises:
        UserError: DS_ACCELERATOR names what is not here, or not supported.
    """
    has_gpu = torch.cuda.is_available()
    chosen = os.environ.get("DS_ACCELERATOR")
    if chosen is None:
        if not has_gpu:
            os.environ["DS_ACCELERATOR"] = "cpu"
    elif chosen not in ("cpu", "cuda"):
        raise UserError(
            f"DS_ACCELERATOR is '{chosen}'; runs use cpu or cuda. Run `unset DS_ACCELERATOR` to "
            "use a GPU if there is one"
        )
    elif chosen == "cuda" and not has_gpu:
        built = torch.version.cuda is not None
        why = "finds no GPU (see nvidia-smi)" if built else "was installed without CUDA"
        raise UserError(
            f"DS_ACCELERATOR is 'cuda', but torch {torch.__version__} {why}; run `unset "
            "DS_ACCELERATOR` to train on the CPU, or make the GPU visible"
        )


def import_deepspeed() -> Any:
    """Import DeepSpeed, keep its log to errors, and switch off what it would compile at start."""
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel("ERROR")
    # Otherwise its CPU backend compiles a shared-memory operation at the first start (25 s) and
    # dies where there is no C++ compiler (deepspeed/comm/torch.py, build_shm_op).
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def check_precision(precision: str) -> None:
    """Check that DeepSpeed can train in a precision on the device of this machine.

    Raises:
        UserError: It cannot.
    """
    choose_accelerator()
    from deepspeed.accelerator import get_accelerator

    device = get_accelerator()
    if precision == "fp16" and not device.is_fp16_supported():
        raise UserError("train.precision is fp16, but this device has no fp16; use bf16 or fp32")
    # torch answers yes for old cards too, although they only emulate bf16.
    too_old = torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)
    if precision == "bf16" and (too_old or not device.is_bf16_supported()):
        raise UserError("train.precision is bf16, but this device has no bf16; use fp16 or fp32")


def check_zero_options(resolved: dict[str, Any]) -> None:
    """Let DeepSpeed check `zero_optimization`, whatever the device.

    Raises:
        UserError: With everything that DeepSpeed rejects.
    """
    choose_accelerator()
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
