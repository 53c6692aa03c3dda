"""Report why a run failed, and end the process with the exit code for it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial

import torch

from gpt2zh.config import profiles
from gpt2zh.config.errors import RunError, UserError
from gpt2zh.config.exit_codes import Exit
from gpt2zh.plan.describe import describe_memory
from gpt2zh.plan.fit import name_file, resolve_all
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.watch import Watch

# Words of gloo and NCCL in the error of a collective when another rank has gone.
_LOST = (
    "connection closed",
    "connection reset",
    "connection refused",
    "gloo",
    "nccl",
    "broken pipe",
)
_NO_MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory")
_PLAN: ContextVar[RunPlan] = ContextVar("plan")
"""The plan in use; `start` may replace the first one while `report_failures` is active."""


def follow(plan: RunPlan) -> None:
    """Record that the run follows this plan from here on."""
    _PLAN.set(plan)


@contextlib.contextmanager
def report_failures(watch: Watch, plan: RunPlan) -> Iterator[None]:
    """Report an exception to the user and to the other ranks, and end this process.

    Errors with their own message and exit code pass through. The process ends at once, because
    waiting for threads and for ranks that never come could take forever.

    Args:
        watch: Knows the current phase.
        plan: The plan at the start; see `follow`.
    """
    follow(plan)
    watch.find_cause = partial(find_changed_shards, plan)
    try:
        yield
    except (UserError, RunError, SystemExit) as error:
        if isinstance(error, UserError):  # perhaps of this rank alone, such as a changed shard
            watch.report_crash(error)
        watch.stop()
        raise
    except BaseException as error:
        code, message = explain(error, watch, _PLAN.get())
        if message is None:
            traceback.print_exc()
            message = f"rank {plan.world.rank} crashed while {watch.phase} (step {watch.step})"
            message += _cause(watch)
        if code is not Exit.LOST_RANK:
            watch.report_crash(error)
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(code)


def explain(error: BaseException, watch: Watch, plan: RunPlan) -> tuple[Exit, str | None]:
    """Return the exit code of an error, and a message if one replaces its traceback."""
    if is_out_of_memory(error):
        return Exit.OUT_OF_MEMORY, explain_out_of_memory(error, watch, plan)
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _LOST):
        reason = watch.explain_lost_rank(wait=3 * watch.short_silence)
        if reason is not None:
            return Exit.LOST_RANK, (
                f"{reason}; rank {plan.world.rank} cannot continue without it. Start again to "
                f"continue from the last checkpoint{_cause(watch)}"
            )
    return Exit.CRASHED, None


def find_changed_shards(plan: RunPlan) -> str:
    """Return which shards were changed under the run; the kernel kills who reads a truncated one.

    The data of another act may have no files.
    """
    find: Callable[[], list[str]] = getattr(plan.data, "changed_files", list)
    return "\n".join(find())


def _cause(watch: Watch) -> str:
    cause = watch.find_cause()
    return f"\n{cause}" if cause else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _NO_MEMORY)


def explain_out_of_memory(error: BaseException, watch: Watch, plan: RunPlan) -> str:
    """Return a message with the settings to change, the cheapest first."""
    return (
        f"rank {plan.world.rank} ran out of memory while {watch.phase} (step {watch.step}): "
        f"{str(error).splitlines()[0] if str(error) else type(error).__name__}\n"
        f"estimate before the start: {describe_memory(plan.setup)}\n"
        "settings that reduce it, the cheapest first:\n"
        + "\n".join(f"  {cure}" for cure in _cures(plan))
    )


def _cures(plan: RunPlan) -> Iterator[str]:
    """Yield options that reduce the memory of a plan and that a start accepts."""
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
