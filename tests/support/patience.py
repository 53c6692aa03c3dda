"""How long tests wait for what must happen.

Tests hold no bound on time: a machine beside them may be busy, and benchmarks measure speed. This
limit only ends a test that would hang for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 900.0
"""Seconds."""


def wait_until(holds: Callable[[], object], what: Callable[[], str] = lambda: "") -> None:
    """Return as soon as something holds.

    Args:
        holds: Asked every few milliseconds.
        what: Describes what there is instead, for the failure.

    Raises:
        AssertionError: It did not come true within `LIMIT`.
    """
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true: {what()}"
        time.sleep(0.02)
