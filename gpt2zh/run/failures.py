"""What a run says when it fails, and the exit code that goes with it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from gpt2zh.config import profiles
from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.plan.describe import describe_memory
from gpt2zh.plan.fit import name_file, resolve_all
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.watch import Watch

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
_FOLLOWED: ContextVar[RunPlan] = ContextVar("followed")
"""The plan in use; `start` may replace the first one while `report_failures` is active."""


def follow(plan: RunPlan) -> None:
    """Take note of a plan that is followed from here on instead of the first one."""
    _FOLLOWED.set(plan)


@contextlib.contextmanager
def report_failures(watch: Watch, plan: RunPlan) -> Iterator[None]:
    """Turn an exception into a message, tell the other ranks, and end this process.

    Errors that have a message and a code of their own pass through. The process ends at once:
    waiting for threads and for ranks that will not come could take for ever.

    Args:
        watch: Knows what is done.
        plan: Followed until another one is.
    """
    follow(plan)
    try:
        yield
    except (UserError, RunError, SystemExit):
        watch.stop()
        raise
    except BaseException as error:
        code, message = explain(error, watch, _FOLLOWED.get())
        if message is None:
            traceback.print_exc()
            message = f"rank {plan.world.rank} crashed while {watch.phase} (step {watch.step})"
        if code is not Exit.LOST_RANK:
            watch.report_crash(error)
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(code)


def explain(error: BaseException, watch: Watch, plan: RunPlan) -> tuple[Exit, str | None]:
    """The exit code of an error, and what to say instead of its traceback, if anything."""
    if is_out_of_memory(error):
        return Exit.OUT_OF_MEMORY, explain_out_of_memory(error, watch, plan)
    if isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _LOST):
        told = watch.explain_lost_rank(wait=3 * watch.short_silence)
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


def explain_out_of_memory(error: BaseException, watch: Watch, plan: RunPlan) -> str:
    """What to turn, in the order in which it costs least."""
    return (
        f"rank {plan.world.rank} ran out of memory while {watch.phase} (step {watch.step}): "
        f"{str(error).splitlines()[0] if str(error) else type(error).__name__}\n"
        f"it was estimated before: {describe_memory(plan.setup)}\n"
        "what helps, the cheapest first:\n" + "\n".join(f"  {cure}" for cure in _cures(plan))
    )


def _cures(plan: RunPlan) -> Iterator[str]:
    """Options that make a plan need less, and which it can be started with."""
    config, ranks = plan.config, plan.world.size
    if (smaller := plan.with_smaller_micro_batch()) is not None:
        rows = smaller.micro_batch
        yield f"--train.micro_batch {rows} (the global batch and the results stay the same)"
    if not config.train.activation_checkpointing:
        yield "--train.activation_checkpointing true (about a quarter slower)"
    least = plan.setup.memory().total
    raws = profiles.candidates(ranks)
    for raw, resolved in resolve_all(raws, config.train, config.optimizer, ranks):
        needed = plan.setup.memory(resolved)
        if needed.total < least:
            least = needed.total
            away = " (part of it in host memory)" if needed.host else ""
            yield f"--deepspeed_config {name_file(raw)}{away}"
    yield "a smaller model, or GPUs with more memory"
