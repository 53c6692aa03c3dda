"""Start every arm in a process of its own, in turn: A B C, A B C.

What one arm changes does not touch another, and what drifts (heat, clocks, neighbours) falls on all
of them alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Figures = dict[str, Any]
Found = TypeVar("Found")


class ArmError(Exception):
    """The process of an arm failed; the text says how."""


@dataclass(frozen=True)
class Start:
    """How to start the process of an arm."""

    arguments: Sequence[str]
    """Of Python: `-m`, the module and its options."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to set."""
    ranks: int = 1
    patience: float = 3600.0
    """Seconds after which it is killed."""


def child(module: str, name: str, *options: str) -> list[str]:
    """Return the arguments of Python that measure the arm `name` of a benchmark.

    It gets the options of this command too; of two with the same name, the last one counts.
    """
    return ["-m", module, *sys.argv[1:], f"--child={name}", *options]


def in_turn(
    names: Iterable[str], rounds: int, measure: Callable[[str, int], Found]
) -> dict[str, list[Found]]:
    """Measure all arms once in each round; `measure` gets an arm and a round, counted from 0."""
    found: dict[str, list[Found]] = {name: [] for name in names}
    for number in range(rounds):
        for name, figures in found.items():
            figures.append(measure(name, number))
    return found


def start(arm: Start) -> Figures:
    """Measure an arm in a new process.

    Raises:
        ArmError: It wrote no figures.
    """
    several = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={arm.ranks}")
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out.json", Path(folder) / "log.txt"
        command = [sys.executable, *(several if arm.ranks > 1 else ()), *arm.arguments]
        with log.open("w", encoding="utf-8") as file:
            try:
                code = subprocess.run(
                    [*command, f"--out={out}"],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **arm.environment},
                    timeout=arm.patience,
                ).returncode
            except subprocess.TimeoutExpired:
                raise ArmError(f"it did not end after {arm.patience} seconds") from None
        return _figures(code, out, log)


def fork(act: Callable[[], Figures], environment: Mapping[str, str]) -> Figures:
    """Call `act` in a fork of this process, which has imported everything: it starts in no time.

    Raises:
        ArmError: It failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out.json", Path(folder) / "log.txt"
        process = get_context("fork").Process(target=_become, args=(act, environment, out, log))
        process.start()
        process.join()
        return _figures(process.exitcode, out, log)


def _become(
    act: Callable[[], Figures], environment: Mapping[str, str], out: Path, log: Path
) -> None:
    os.environ.update(environment)
    sys.stdout = sys.stderr = file = log.open("w", buffering=1, encoding="utf-8")
    for output in (1, 2):
        os.dup2(file.fileno(), output)  # for what is not written by Python
    out.write_text(json.dumps(act()), "utf-8")


def _figures(code: int | None, out: Path, log: Path) -> Figures:
    """Return the figures of a process, or raise an error with its last words."""
    if code == 0 and out.exists():
        return dict(json.loads(out.read_text("utf-8")))
    lines = [line.strip() for line in log.read_text("utf-8").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "out of memory" in line.lower()]
    raise ArmError(f"exit code {code}: " + " | ".join((telling or lines)[-3:])[:600])
