"""What the ranks exchange besides gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


class ControlGroup:
    """A gloo group in addition to the GPUs' group, for decisions.

    Whether to stop, save or validate must be the same answer on all ranks, and asking must not wait
    for a GPU. All ranks call every method in the same order.
    """

    def __init__(self) -> None:
        """Open the group; torch.distributed must be initialised."""
        self._group = dist.new_group(backend="gloo")

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set on at least one rank."""
        votes = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self._group)
        return tuple(bool(vote) for vote in votes)

    def exchange(self, values: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the integers of all ranks, (ranks, n) int64; each rank gives n of them.

        Cheaper than `gather`, for what is exchanged in every step.
        """
        mine = torch.as_tensor(np.asarray(values, np.int64))
        everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size(self._group))]
        dist.all_gather(everyone, mine, group=self._group)
        return torch.stack(everyone).numpy()

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in the order of ranks, on every rank."""
        values: list[Any] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(values, value, group=self._group)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0, on every rank."""
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        dist.barrier(group=self._group)


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Add `values` over all ranks, in place and on their device, and return them."""
    dist.all_reduce(values)
    return values
