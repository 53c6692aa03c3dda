"""What the ranks publish about their progress, in torch's key-value store."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from typing import Protocol

from gpt2zh.ranks.world import World


class Store(Protocol):
    """The part of torch.distributed.Store that is used here."""

    def set(self, key: str, value: str) -> None:
        """Set a key for all ranks."""

    def get(self, key: str) -> bytes:
        """Return the value of a key; wait until it exists."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Return the values of keys in one request; wait until all exist."""

    def check(self, keys: list[str]) -> bool:
        """Return whether all these keys exist."""


@dataclass
class Standing:
    """What this rank knows of one rank."""

    phase: str = "starting"
    step: int = 0
    marks: int = 0
    """Marks that its main thread has set; all ranks set the same ones in the same order."""
    notes: int = 0
    """Notes of its thread that writes checkpoints."""
    host: str = ""
    changed_at: float = 0.0
    """Our clock when marks or notes last increased."""
    heard_at: float = 0.0
    """Our clock at its last sign of life."""
    beats: int = -1
    """How often it has published so far."""

    @property
    def place(self) -> str:
        """Its machine, for a message; empty before its first sign of life."""
        return f" on {self.host}" if self.host else ""

    @property
    def activity(self) -> str:
        """Its last phase and step, for a message."""
        return f"while {self.phase} (step {self.step})"


class Board:
    """The store, with the last known standing of every rank.

    Every method that uses the store raises RuntimeError when rank 0, which serves it, has gone.
    """

    def __init__(self, store: Store, world: World) -> None:
        """Take every rank as alive and moving now.

        Args:
            store: A connection that no other thread uses in collectives.
            world: This rank's place.
        """
        self.standings = [Standing() for _ in range(world.size)]
        self._store = store
        self._rank = world.rank
        self._beats = 0
        self._all_there = False
        self.reset()

    @property
    def mine(self) -> Standing:
        """The standing of this rank."""
        return self.standings[self._rank]

    def reset(self) -> None:
        """Take every rank as alive and moving now."""
        now = time.monotonic()
        for standing in self.standings:
            standing.changed_at = standing.heard_at = now

    def publish(self, *, phase: str, step: int, marks: int, notes: int) -> None:
        """Write the progress of this rank for the others."""
        self._beats += 1
        mine = {
            "phase": phase,
            "step": step,
            "marks": marks,
            "notes": notes,
            "host": platform.node(),
            "beats": self._beats,
        }
        self._store.set(f"standing/{self._rank}", json.dumps(mine))

    def read_all(self) -> None:
        """Read the progress of all ranks."""
        now = time.monotonic()
        for standing, text in zip(self.standings, self._read_texts(), strict=True):
            if text is None:
                continue
            news = json.loads(text)
            if news["beats"] != standing.beats:
                standing.heard_at = now
            if (news["marks"], news["notes"]) != (standing.marks, standing.notes):
                standing.changed_at = now
            for name, value in news.items():
                setattr(standing, name, value)
        self.mine.heard_at = now

    def get(self, key: str) -> str | None:
        """Return the value of a key without waiting; None if nobody has set it."""
        return self._store.get(key).decode() if self._store.check([key]) else None

    def put(self, key: str, value: str) -> None:
        """Set a key for all ranks."""
        self._store.set(key, value)

    def _read_texts(self) -> list[str | None]:
        """Return the last publication of each rank: in one request, once all have published."""
        keys = [f"standing/{rank}" for rank in range(len(self.standings))]
        self._all_there = self._all_there or self._store.check(keys)
        if self._all_there:
            return [value.decode() for value in self._store.multi_get(keys)]
        return [self.get(key) for key in keys]
