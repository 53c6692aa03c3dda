"""Tiny training runs on two ranks, in which a fault may strike: forks, so that a start is quick."""

from __future__ import annotations

from pathlib import Path

from forked_ranks import preload

from tests.faults.fault import Fault
from tests.faults.ranks import Ended, start


def go(argv: list[str], run: Path, fault: Fault | None = None) -> Ended:
    """Start two ranks and wait until they have ended."""
    preload()
    return start(
        argv,
        ranks=2,
        fault=fault,
        sabotage=None,
        log=run.with_suffix(".log"),
        told=run.with_suffix(".told"),
        patience=90.0,
    )
