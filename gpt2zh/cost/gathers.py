"""Simulate when ZeRO 3 gathers which weights, without a GPU.

The rules are those of runtime/zero/partitioned_param_coordinator.py (DeepSpeed 0.19.8) after two
micro-batches, when it knows the order of the modules: weights are prefetched, kept if their next
use is near, and otherwise released. With DeepSpeed's default limits, a model of less than 1e9
parameters is gathered once per micro-batch; ZeRO's paper says twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt2zh.cost.weights import Module, Weight


@dataclass(frozen=True)
class Limits:
    """DeepSpeed's settings, in elements, with its defaults."""

    ahead: int = 50_000_000
    """stage3_prefetch_bucket_size: prefetched at one module."""
    live: int = 1_000_000_000
    """stage3_max_live_parameters: beyond it nothing is prefetched."""
    reuse: int = 1_000_000_000
    """stage3_max_reuse_distance: weights used again within this distance are kept."""
    persistent: int = 100_000
    """stage3_param_persistence_threshold: tensors up to this size are never released."""

    @classmethod
    def of(cls, zero: Mapping[str, Any]) -> Limits:
        """Return the limits in the section `zero_optimization` of a resolved DeepSpeed JSON."""
        return cls(
            ahead=zero.get("stage3_prefetch_bucket_size", cls.ahead),
            live=zero.get("stage3_max_live_parameters", cls.live),
            reuse=zero.get("stage3_max_reuse_distance", cls.reuse),
            persistent=zero.get("stage3_param_persistence_threshold", cls.persistent),
        )


@dataclass(frozen=True)
class Gather:
    """Weights that are gathered by one collective."""

    at: int
    """Number of the module at which it starts."""
    weights: tuple[Weight, ...]


class _Rank:
    """The gathered weights of one rank while it goes through the modules."""

    def __init__(self, calls: Sequence[Module], limits: Limits) -> None:
        self.calls, self.limits = calls, limits
        self.queue = deque((weight, at) for at, module in enumerate(calls) for weight in module)
        self.marked: dict[Weight, int] = {}
        """The last call of each weight that the rank has planned for."""
        self.held: set[Weight] = set()
        self.gathers: list[Gather] = []

    def enter(self, at: int) -> None:
        """Gather the weights of a module that are missing, and prefetch those of the next ones."""
        own = self.calls[at]
        self._gather(at, [w for w in own if self._is_missing(w)])
        new = [w for w in own if self.marked.get(w, -1) < at]
        passed: set[Weight] = set()
        while self.queue and len(passed) < len(new):
            weight, use = self.queue.popleft()
            self.marked[weight] = use
            passed.add(weight)
        room = self.limits.live - sum(w.elements for w in self.held)
        room = min(room, self.limits.ahead)
        ahead: list[Weight] = []
        while self.queue and sum(w.elements for w in ahead) < room:
            weight, use = self.queue.popleft()
            self.marked[weight] = max(self.marked.get(weight, -1), use)
            if self._is_missing(weight) and weight not in ahead:
                ahead.append(weight)
        self._gather(at, ahead)

    def leave(self, at: int) -> None:
        """Release the weights of a module that are not used again soon."""
        free = {w for w in self.calls[at] if w in self.held and self.marked.get(w, -1) <= at + 1}
        distance = 0
        for module in self.calls[at + 1 :]:
            if distance >= self.limits.reuse or not free:
                break
            free.difference_update(module)
            distance += sum(weight.elements for weight in module)
        self.held -= free

    def _is_missing(self, weight: Weight) -> bool:
        return weight.elements > self.limits.persistent and weight not in self.held

    def _gather(self, at: int, weights: Sequence[Weight]) -> None:
        if weights:
            self.held.update(weights)
            self.gathers.append(Gather(at, tuple(weights)))


def simulate_gathers(calls: Sequence[Module], limits: Limits) -> list[Gather]:
    """Return the all-gathers of a micro-batch.

    Args:
        calls: The modules in the order in which they are entered, backward pass included.
        limits: DeepSpeed's settings.
    """
    rank = _Rank(calls, limits)
    for at in range(len(calls)):
        rank.enter(at)
        rank.leave(at)
    return rank.gathers


def count_most_held(calls: Sequence[Module], limits: Limits) -> int:
    """Return the largest number of gathered elements that a rank has at one time.

    Args:
        calls: The modules in the order in which they are entered, backward pass included.
        limits: DeepSpeed's settings.
    """
    rank = _Rank(calls, limits)
    most = 0
    for at in range(len(calls)):
        rank.enter(at)
        most = max(most, sum(weight.elements for weight in rank.held))
        rank.leave(at)
    return most
