"""What a run says when it fails, and the exit code that goes with it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

import torch

from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.dist.watch import Watch
from gpt2zh.recipes.announce import memory_line
from gpt2zh.recipes.plan import Plan

# How collectives fail when another rank has gone: gloo's and NCCL's words.
_LOST = (
    "connection closed",
    "connection reset",
    "connection refused",
    "gloo",
    "nccl",
    "broken pipe",
)
_NO_MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory")


@contextlib.contextmanager
def failures_told(watch: Watch, plan: Plan) -> Iterator[None]:
    """Turn an exception into a message, tell the other ranks, and end this process.

    Errors that have a message and a code of their own pass through. The process ends at once:
    waiting for threads and for ranks that will not come could take for ever.
    """
    try:
        yield
    except (UserError, RunError, SystemExit):
        watch.stop()
        raise
    except BaseException as error:
        code, message = explain(error, watch, plan)
        if message is None:
            traceback.print_exc()
            message = f"rank {plan.world.rank} crashed while {watch.phase} (step {watch.step})"
        if code is not Exit.LOST_RANK:
            watch.tell_crash(error)
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(code)


def explain(error: BaseException, watch: Watch, plan: Plan) -> tuple[Exit, str | None]:
    """The exit code of an error, and what to say instead of its traceback, if anything."""
    if is_out_of_memory(error):
        return Exit.OUT_OF_MEMORY, out_of_memory(error, watch, plan)
    if isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _LOST):
        told = watch.told_by_others(wait=3 * watch.short_silence)
        if told is not None:
            me = plan.world.rank
            return Exit.LOST_RANK, f"{told}; rank {me} cannot go on without it. Start again to " + (
                "continue from the last checkpoint"
            )
    return Exit.CRASHED, None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _NO_MEMORY)


def out_of_memory(error: BaseException, watch: Watch, plan: Plan) -> str:
    """What to turn, in the order in which it costs least."""
    train, zero = plan.config.train, plan.zero_stage
    cures = []
    if plan.micro_batch > 1:
        half = plan.micro_batch // 2
        cures.append(f"--train.micro_batch {half} (the global batch and the results stay the same)")
    if not train.activation_checkpointing:
        cures.append("--train.activation_checkpointing true (about a quarter slower)")
    if zero < 1 or (zero < 3 and plan.world.size > 1):
        cures.append(f"--deepspeed_config ds_configs/zero{zero + 1}.json")
    cures.append("--deepspeed_config ds_configs/zero2_offload.json (the optimizer in host memory)")
    return (
        f"rank {plan.world.rank} ran out of memory while {watch.phase} (step {watch.step}): "
        f"{str(error).splitlines()[0] if str(error) else type(error).__name__}\n"
        f"it was estimated before: {memory_line(plan)}\n"
        "what helps, the cheapest first:\n" + "\n".join(f"  {cure}" for cure in cures)
    )
