"""The arms in turn, each in a process of its own, A B C, A B C: what one changes touches no other.

What drifts (heat, clocks, neighbours) so falls on all of them alike.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from speed.arms import BEST, recipe_of
from speed.job import Job
from speed.process import run_process

_PROBE_STEPS = 1


class ArmError(Exception):
    """An arm's process came to a bad end; the text says how."""

    @property
    def lacked_memory(self) -> bool:
        """Whether it asked for more memory than there was."""
        return "out of memory" in str(self).lower()


def run_rounds(job: Job, names: list[str], rounds: int, work: Path) -> dict[str, Any]:
    """Measure the device and all arms so many times.

    Returns:
        `device`: figures by round; `arms`: figures by name and round, or an `error`.
    """
    asked = {name: _with_rows(job, name, work) for name in names}
    device: list[dict[str, Any]] = []
    arms: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        device.append(start(job, "device", work))
        for name, real in asked.items():
            print(f"round {number} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                arms[name].append(start(job, real, work))
            except ArmError as failure:
                print(f"  {failure}", file=sys.stderr, flush=True)
                arms[name].append({"error": str(failure)})
    return {"device": device, "arms": arms}


def start(job: Job, name: str, work: Path) -> dict[str, Any]:
    """Measure an arm, or the `device`, in a process of its own.

    Raises:
        ArmError: It gave no figures.
    """
    out, log = work / "out.json", work / "log.txt"
    out.unlink(missing_ok=True)
    code = run_process(job, name, out=out, log=log)
    if code or not out.exists():
        raise ArmError(_last_words(log.read_text("utf-8"), code))
    return dict(json.loads(out.read_text("utf-8")))


def largest_micro_batch(rows: int, fits: Callable[[int], None]) -> int:
    """The most rows at once that the memory holds, of those that divide the global batch.

    Args:
        rows: The global batch.
        fits: Tries so many rows.

    Raises:
        ArmError: Something else than the memory failed, or not even one row fits.
    """
    for choice in (n for n in range(rows, 0, -1) if rows % n == 0):
        try:
            fits(choice)
            return choice
        except ArmError as failure:
            if not failure.lacked_memory:
                raise
    raise ArmError("out of memory with a micro-batch of one row")


def _with_rows(job: Job, name: str, work: Path) -> str:
    """The name with a number in the place of `best`; if there is none, the rounds will tell why."""
    if recipe_of(name).micro_batch != BEST:
        return name
    base = name.partition("@")[0]
    short = replace(job, warmup=0, steps=_PROBE_STEPS)

    def fits(rows: int) -> None:
        print(f"does {base} fit with {rows} rows at once?", file=sys.stderr, flush=True)
        start(short, f"{base}@{rows}", work)

    try:
        return f"{base}@{largest_micro_batch(job.global_batch, fits)}"
    except ArmError:
        return f"{base}@{job.global_batch}"


def _last_words(log: str, code: int) -> str:
    """What a process said at last: the lines of errors, or the last ones."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "out of memory" in line.lower()]
    return f"exit code {code}: " + " | ".join((telling or lines)[-3:])[:600]
