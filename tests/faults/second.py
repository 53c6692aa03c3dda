"""Give the same command a second time while the first one still runs or saves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.config.exit_codes import Exit, by_signal
from tests.faults.ranks import Ranks

_LATE = 2.0
"""Seconds in which this process notices the end of a rank, on a busy machine."""
_LATEST = 3.0
"""Seconds after which the second start begins though the fault has not struck."""
_BESIDE = {Exit.REFUSED, Exit.LOST_RANK, by_signal(15), -15}
"""Exit codes in a start that is refused: a launcher ends the other ranks."""


@dataclass(frozen=True)
class Moment:
    """When the second start begins."""

    delay: float
    """Seconds after the begin of the first, or after its fault has struck if it does soon."""
    after_fault: bool
    same_port: bool
    """Whether the ranks of both would meet at one port."""


class SecondStart:
    """The second start, and how it went."""

    def __init__(self, moment: Moment, told: Path, begin: Callable[[int | None], Ranks]) -> None:
        """Prepare it.

        Args:
            moment: When it begins.
            told: File that the fault of the first start writes.
            begin: Starts its ranks, at a port of its own for None.
        """
        self._moment = moment
        self._told = told
        self._begin = begin
        self.accepted = Path(f"{told}.accepted")
        """The file that rank 0 of the second start writes when it has the folder."""
        self._begun = time.monotonic()
        self._struck_at: float | None = None
        self._left_at: float | None = None
        self.ranks: Ranks | None = None

    def look(self, first: Ranks) -> None:
        """Begin if it is time; follow what has begun."""
        now = time.monotonic()
        if 0 in first.codes and self._left_at is None:
            self._left_at = now
        if self._struck_at is None and self._told.exists():
            self._struck_at = now
        if self.ranks is not None:
            self.ranks.poll()
        elif self._is_due(now) and not first.has_ended:
            # Ranks that still wait for each other would take those of the second start for theirs.
            joins = self._moment.same_port and self._struck_at is not None
            self.ranks = self._begin(first.port if joins else None)

    def _is_due(self, now: float) -> bool:
        moment = self._moment
        if moment.after_fault and self._struck_at is not None:
            return now - self._struck_at >= moment.delay
        return now - self._begun >= (_LATEST if moment.after_fault else moment.delay)

    def outcome(self, first: Ranks) -> tuple[str, str | None]:
        """Wait for its end; return what became of it, and what was wrong with that.

        Returns:
            `not begun`, `refused`, `came first` or `took over`; None if all is well.
        """
        if self.ranks is None:
            return "not begun", None
        ended = self.ranks.wait()
        if ended.stuck:
            return "stuck", f"ranks {ended.stuck} of the second start had to be killed ({ended})"
        if Exit.REFUSED in ended.codes:
            fits = set(ended.codes) <= _BESIDE
            return "refused", None if fits else f"second start: exit codes {ended.codes}"
        if any(ended.codes):
            return "failed", f"exit codes {ended.codes} of the second start, which has no fault"
        codes = [first.codes[rank] for rank in sorted(first.codes)]
        if Exit.REFUSED in codes:
            fits = set(codes) <= _BESIDE
            return "came first", None if fits else f"exit codes {codes} of a refused start"
        since = float(self.accepted.read_text("ascii"))
        if self._left_at is None or self._left_at > since + _LATE:
            return "took over", "the second start was accepted while the first one still ran"
        return "took over", None
