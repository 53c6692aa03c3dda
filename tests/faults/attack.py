"""Draw what happens in the next start: one of several kinds of attack."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.faults.early import FILE, MEETING
from tests.faults.fault import Fault
from tests.faults.output import FAILING, LOG
from tests.faults.second import Moment

KINDS = {
    "mark": 9,
    "file": 4,
    "group": 2,
    "bad steps": 2,
    "output": 2,
    "second start": 2,
    "skewed clock": 1,
    "foreign files": 2,
}
"""How often each kind comes in one round of the deck.

`mark`: a fault at a mark of the watch, as in fault.py. `file`: kill -9 between two file operations.
`group`: a rank dies before the process group exists. `bad steps`: too many in a row. `output`: what
is printed gets lost. `second start`: the same command twice. `skewed clock`: the same, with an
owner on another machine whose clock is hours off. `foreign files`: see foreign.py.
"""
MARKS, NOTES = 70, 30
"""Last mark and last note at which a fault strikes."""
_FILES = (150, 60, 30)
"""Last file operation before which a kill strikes: in any start, in one without a checkpoint up to
the end of the first checkpoint, and up to its first step."""


@dataclass(frozen=True)
class Attack:
    """What happens in one start."""

    kind: str
    fault: Fault | None = None
    """Strikes one rank."""
    output: str = LOG
    """Where the ranks print to."""
    second: Moment | None = None
    """When the same command is given again."""
    hours: float | None = None
    """By how much the clock of the first start's machine is ahead."""


class Deck:
    """Kinds of attacks in random order: within one round each comes as often as `KINDS` says."""

    def __init__(self, rng: random.Random, only: str | None = None) -> None:
        """Shuffle it; the first round begins with one of each kind.

        Args:
            rng: Random numbers.
            only: The one kind to draw; None for all.
        """
        kinds = [only] if only else list(KINDS)
        self._rng = rng
        self._round = [kind for kind in kinds for _ in range(KINDS[kind])]
        if only in ("group", "bad steps"):  # no such start ends well; some must
            self._round.append("none")
        more = [kind for kind in kinds for _ in range(KINDS[kind] - 1)]
        self._left = [*rng.sample(kinds, len(kinds)), *rng.sample(more, len(more))]

    def draw(self, *, ranks: int, steps: int, done: int, bad_steps: int) -> Attack:
        """Draw an attack.

        Args:
            ranks: Number of processes.
            steps: Steps of the run.
            done: Steps of its newest complete checkpoint; 0 without one.
            bad_steps: Length of a streak that ends the run.
        """
        last = steps - bad_steps - done + 1  # a shorter streak would be part of the run
        kind = self._next({"bad steps": last >= 1, "foreign files": done > 0})
        rng = self._rng
        if kind == "none":
            return Attack(kind)
        if kind == "mark":
            return Attack(kind, self._at_mark(ranks))
        if kind == "file":
            at = rng.randint(1, _FILES[0] if done else rng.choice(_FILES[1:]))
            rank = 0 if rng.random() < 0.8 else rng.randrange(ranks)
            return Attack(kind, Fault("kill -9", rank, False, at, place=FILE))
        if kind == "group":
            then = rng.choice(("", "", "SIGTERM", "SIGINT", "SIGHUP"))
            place = rng.choice(MEETING)
            return Attack(
                kind, Fault("kill -9", rng.randrange(ranks), False, 1, place=place, then=then)
            )
        if kind == "bad steps":
            what, at = rng.choice(("loss is NaN", "gradient is infinite")), rng.randint(1, last)
            rank, phase = rng.randrange(ranks), "computing micro-batch 2"
            return Attack(kind, Fault(what, rank, False, at, phase, steps=bad_steps))
        fault = self._at_mark(ranks) if rng.random() < 0.5 else None
        if kind == "output":
            return Attack(kind, fault, output=rng.choice(FAILING))
        if kind == "foreign files":
            return Attack(kind, fault)
        return self._twice(kind, fault)

    def _next(self, useful: dict[str, bool]) -> str:
        """Take a kind; one that would do little in the next start waits for a later one."""
        if not self._left:
            self._left = self._rng.sample(self._round, len(self._round))
        for place, kind in enumerate(self._left):
            if useful.get(kind, True):
                return self._left.pop(place)
        kind = self._left.pop(0)
        if kind == "bad steps":  # only these are left, and too few steps
            self._left.append(kind)
            return "mark"
        return kind

    def _at_mark(self, ranks: int) -> Fault:
        return Fault.draw(self._rng, ranks=ranks, marks=MARKS, notes=NOTES)

    def _twice(self, kind: str, fault: Fault | None) -> Attack:
        rng = self._rng
        hours = None
        if kind == "skewed clock":
            hours = rng.choice((-1, 1)) * rng.uniform(0.5, 48.0)
        if fault is not None:  # often while it saves, because it was asked to stop
            if rng.random() < 0.5:
                fault = Fault("SIGTERM", fault.rank, False, fault.at)
            moment = Moment(rng.uniform(0.0, 0.5), True, rng.random() < 0.5)
        else:
            moment = Moment(rng.uniform(0.0, 3.0), False, False)
        return Attack(kind, fault, second=moment, hours=hours)
