"""Measure the memory that is allocated in each phase of a step, and its peak."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


@dataclass(frozen=True)
class Level:
    """Bytes allocated in a phase."""

    begin: int
    peak: int
    end: int


class Meter(Protocol):
    """Measures what each phase allocates."""

    def watching(self) -> contextlib.AbstractContextManager[Any]:
        """Count what is allocated within, until it is freed."""
        ...

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Note begin, peak and end of what happens within."""
        ...

    @property
    def levels(self) -> dict[str, Level]:
        """The levels of the last phase of each name."""
        ...


class CpuMeter(TorchDispatchMode):
    """Counts the bytes of every tensor that an operation makes, until its storage is freed.

    What a kernel allocates and frees inside itself is not seen, with one exception that matters:
    logsumexp subtracts the largest number from a copy of its input (ATen/native/ReduceOps.cpp).
    """

    def __init__(self) -> None:
        super().__init__()
        self.level = self.peak = 0
        self.levels: dict[str, Level] = {}
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count the tensors that it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self._count(tensor.untyped_storage())
        if func is torch.ops.aten.logsumexp.default:
            self.peak = max(self.peak, self.level + args[0].nbytes)
        return made

    def watching(self) -> CpuMeter:
        """Return itself: it counts while it is entered, and notices frees at any time."""
        return self

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note begin, peak and end of what happens within."""
        begin = self.peak = self.level
        yield
        self.levels[name] = Level(begin, self.peak, self.level)

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.level += size
        self.peak = max(self.peak, self.level)
        weakref.finalize(storage, self._free, key, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.level -= size


class GpuMeter:
    """Asks torch's caching allocator on the GPU of this process."""

    def __init__(self) -> None:
        self.levels: dict[str, Level] = {}

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: the allocator always counts."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note begin, peak and end of what happens within."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        begin = torch.cuda.memory_allocated()
        yield
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
        self.levels[name] = Level(begin, peak, torch.cuda.memory_allocated())
