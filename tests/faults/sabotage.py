"""Break a promise of the code on purpose: the torture must notice it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpt2zh.acts import launch
from gpt2zh.checkpoint import master_weights, snapshot
from gpt2zh.data.loader import _AHEAD
from gpt2zh.files import lock, run_folder
from gpt2zh.plan import run_plan
from gpt2zh.ranks import meeting
from gpt2zh.train import loop
from gpt2zh.train.step import step_seed
from tests.faults.replacing import replace

SABOTAGES = ("random numbers", "prefetched rows", "moments", "trust in files")
"""Those that the faults at marks find."""
GUARDS = {
    "config first": "file",
    "lost output": "output",
    "strict terminal": "output",
    "early plan": "second start",
    "clocks": "skewed clock",
    "endless meeting": "group",
}
"""Those that one kind of attack finds, with that kind."""


def break_code(name: str) -> None:
    """Break a promise on purpose, so that a test can see that the torture notices it.

    Args:
        name: `random numbers`: every start begins with the same random numbers; `prefetched
            rows`: rows that were only read ahead count as used; `moments`: half of the optimizer's
            state is not restored; `trust in files`: a checkpoint is written under its final name,
            and every checkpoint counts as complete; `config first`: a run folder gets its config
            before its identity; `lost output`: a line that cannot be printed is an error; `strict
            terminal`: so is a character that the terminal lacks; `early plan`: the plan is made
            before the lock is held; `clocks`: the time of the lock file is compared with our clock;
            `endless meeting`: a rank waits for the others without end.
    """
    if name == "random numbers":
        steps = itertools.count(1)

        def restarted(seed: int, step: int, rank: int) -> int:
            return step_seed(seed, step=next(steps), rank=rank)

        replace(loop, "step_seed", restarted)
    elif name == "prefetched rows":
        take = snapshot.take

        def counted(*arguments: Any) -> snapshot.Snapshot:
            taken = take(*arguments)
            taken.described["progress"]["rows"] += _AHEAD * 8
            return taken

        replace(snapshot, "take", counted)
    elif name == "moments":
        restore = master_weights.restore

        def half(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
            restore(engine, lambda k, n: read(k, n) * (k != "exp_avg_sq"), updates)

        replace(master_weights, "restore", half)
    elif name == "trust in files":
        replace(run_folder, "find_faults", lambda path, content: [])
        replace(run_folder, "writing_path", run_folder.checkpoint_path)
        replace(run_folder, "begin", _begin_under_the_final_name)
        replace(run_folder, "commit", lambda temporary, final, entries: None)
    else:
        _break_guard(name)


def _break_guard(name: str) -> None:
    if name == "config first":
        texts = run_plan.RunPlan.texts
        replace(run_plan.RunPlan, "texts", lambda self: dict(reversed(list(texts(self).items()))))
    elif name == "lost output":
        replace(launch, "drop_lost_output", lambda: None)
    elif name == "strict terminal":
        replace(launch, "prepare_output", lambda: None)
    elif name == "early plan":
        replace(launch, "_hold_folder", lambda *_: contextlib.nullcontext())
        announce = launch.announce

        def slowly(plan: Any) -> None:
            announce(plan)
            time.sleep(2.0)  # as long as a start imports torch

        replace(launch, "announce", slowly)
    elif name == "clocks":
        replace(lock, "is_touched", lambda path: time.time() - path.stat().st_mtime < lock.STALE)
    elif name == "endless meeting":
        for limit in ("LIMIT", "SILENCE"):
            replace(meeting, limit, 1e9)
    else:
        raise ValueError(f"{name!r} is not one of {(*SABOTAGES, *GUARDS)}")


def _begin_under_the_final_name(run: Path, number: int) -> None:
    run_folder.checkpoint_path(run, number).mkdir(exist_ok=True)
