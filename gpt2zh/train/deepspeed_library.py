"""DeepSpeed as a library: imported with our settings, and asked what it accepts."""

from __future__ import annotations

import copy
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


def check_options(resolved: dict[str, Any]) -> None:
    """Let DeepSpeed's own config classes check a resolved dict, whatever the device.

    Raises:
        UserError: With everything that DeepSpeed rejects.
    """
    raise_all(find_faults(resolved), "the DeepSpeed JSON")


def find_faults(resolved: dict[str, Any]) -> list[str]:
    """Return what DeepSpeed's own config classes reject, in their words, whatever the device.

    DeepSpeed itself stops at the first fault. So each key is tried alone, next to a batch that is
    right; only if no key is wrong by itself, they are tried together.
    """
    choose_accelerator()
    import_deepspeed()
    batch = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    others = {k: v for k, v in resolved.items() if k not in {*batch, "train_batch_size"}}
    found = [fault for k, v in others.items() for fault in _ask(batch | {k: v}, where=k)]
    return found or _ask(batch | others, where=None)


def _ask(table: dict[str, Any], *, where: str | None) -> list[str]:
    """Return what DeepSpeed rejects in a dict; `where` is its only key besides the batch."""
    from deepspeed.runtime.config import DeepSpeedConfig, DeepSpeedConfigError
    from pydantic import ValidationError

    prefix = [] if where is None else [where]
    try:
        DeepSpeedConfig(copy.deepcopy(table))
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, [*prefix, *fault['loc']]))}: {fault['msg']} "
            f"(given: {fault['input']!r}), says DeepSpeed; correct it or remove it from the JSON"
            for fault in error.errors()
        ]
    # It checks with asserts, and with whatever a wrong type makes its code raise.
    except (DeepSpeedConfigError, ValueError, AssertionError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        subject = "".join(f"{name}: " for name in prefix)
        return [f"{subject}{text}, says DeepSpeed; correct it or remove it from the JSON"]
    return []
